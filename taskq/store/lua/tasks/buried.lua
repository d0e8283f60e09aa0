-- One page of the dead letters or of the quarantine, the newest first; writes nothing.
-- KEYS  1 dead or quarantine  2 state  3 errors  4 body
-- ARGV  1 time in ms of the last one seen, '' to begin  2 its id  3 limit  4 byte limit  5 '1' for ids and times only
-- Returns { now, total, rows }: each row is id, time in ms, 8-byte head, its last error line, and if that names no task the
--       first bytes of its body (of a body too large to look into: ''). The last one seen need not be there any more.
--       A page ends early at the byte limit, after one row at least.
-- Checked before the first write: there is none.
local call, sub, byte = redis.call, string.sub, string.byte
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Bytes, as a sorted set orders its members; Lua's own < goes by the server's locale.
local function before(one, other)
  for i = 1, 16 do
    local a, b = byte(one, i), byte(other, i)
    if a ~= b then return a < b end
  end
  return false
end

local start = 0
if ARGV[1] ~= '' then
  -- Of those that were buried at that time: the first that comes after the last one seen.
  start = call('ZCOUNT', KEYS[1], '(' .. ARGV[1], '+inf')
  local stop = call('ZCOUNT', KEYS[1], ARGV[1], '+inf')
  while start < stop do
    local middle = math.floor((start + stop) / 2)
    if before(call('ZREVRANGE', KEYS[1], middle, middle)[1], ARGV[2]) then stop = middle else start = middle + 1 end
  end
end
local found = call('ZREVRANGE', KEYS[1], start, start + ARGV[3] - 1, 'WITHSCORES')
local rows, bytes, room = {}, 0, tonumber(ARGV[4])
for i = 1, #found, 2 do
  local id, brief = found[i], ARGV[5] == '1'
  local lines = not brief and call('HGET', KEYS[3], id) or ''
  local head = not brief and call('HGET', KEYS[2], id) or ''
  -- anchored: without that, a line without a break is searched from each of its characters
  local line, start_of_body = string.match(lines, '^.*\n(.*)$') or lines, ''
  bytes = bytes + #lines
  -- quotes inside a JSON text are escaped, so this is the field and nothing that somebody wrote
  if not brief and not string.find(line, '"task":"', 1, true) then
    local size = call('HSTRLEN', KEYS[4], id)
    if size <= 65536 then
      bytes = bytes + size
      start_of_body = sub(call('HGET', KEYS[4], id) or '', 1, 300)
    end
  end
  rows[#rows + 1] = { id, found[i + 1], sub(head, 1, 8), line, start_of_body }
  if bytes > room then break end
end
return { now, call('ZCARD', KEYS[1]), rows }
