-- One page of the messages in one place, with records and the heads of bodies; writes nothing.
-- KEYS  1 body  2 state  3 a list or sorted set; the ids are those of ARGV if it is not given
-- ARGV  1 where the last page ended: in a list how many were before it, in a sorted set the score of its last, '' to begin
--       2 its last id  3 limit  4 byte limit  5 bytes of each head  6 '1' for the largest scores first  then ids
-- Returns { over, start, rows }: over is 1 when the place has been read, start how many of a list are before the page; each
--       row is id, score or '', record or '', size of the body, its head ('' of a body above 64 KiB).
--       What is before the last id of a list may have gone meanwhile: it is looked for. Is it gone itself, all before it
--       have gone as well. A page ends early at the byte limit, after one row at least.
-- Checked before the first write: there is none.
local call, byte, sub = redis.call, string.byte, string.sub
local place, id, limit = KEYS[3], ARGV[2], tonumber(ARGV[3])
local kind, down, found, start, step = place and call('TYPE', place).ok, ARGV[6] == '1', {}, 0, 1

-- Bytes, as a sorted set orders its members; Lua's own < goes by the server's locale.
local function before(one, other)
  for i = 1, 16 do
    local a, b = byte(one, i), byte(other, i)
    if a ~= b then return a < b end
  end
  return false
end

if not place then
  for i = 7, #ARGV do found[i - 6] = ARGV[i] end
elseif kind == 'list' then
  start = tonumber(ARGV[1]) or 0
  if start > 0 then
    local from, at = math.max(start - 500, 0), nil
    for i, other in ipairs(call('LRANGE', place, from, start + 250)) do
      if other == id then at = from + i end
    end
    if not at then
      local far = call('LPOS', place, id, 'MAXLEN', 100000)
      at = far and far + 1 or start <= 100000 and 0 or start
    end
    start = at
  end
  found = call('LRANGE', place, start, start + limit - 1)
else
  step = 2
  local rank = down and 'ZREVRANGE' or 'ZRANGE'
  if ARGV[1] ~= '' then
    -- Of those of that score: the first that comes after the last one seen.
    local from, to = down and '(' .. ARGV[1] or '-inf', down and '+inf' or '(' .. ARGV[1]
    start = call('ZCOUNT', place, from, to)
    local stop = start + call('ZCOUNT', place, ARGV[1], ARGV[1])
    while start < stop do
      local middle = math.floor((start + stop) / 2)
      local other = call(rank, place, middle, middle)[1]
      if (down and before(other, id)) or (not down and before(id, other)) then stop = middle else start = middle + 1 end
    end
  end
  found = call(rank, place, start, start + limit - 1, 'WITHSCORES')
end

local rows, bytes, room, head = {}, 0, tonumber(ARGV[4]), tonumber(ARGV[5])
for i = 1, #found, step do
  local size, text = call('HSTRLEN', KEYS[1], found[i]), ''
  if size > 0 and size <= 65536 then
    bytes = bytes + size
    text = sub(call('HGET', KEYS[1], found[i]), 1, head)
  end
  rows[#rows + 1] = { found[i], step == 2 and found[i + 1] or '', call('HGET', KEYS[2], found[i]) or '', size, text }
  if bytes > room then break end
end
return { #rows == #found / step and (not place or #rows < limit) and 1 or 0, start, rows }
