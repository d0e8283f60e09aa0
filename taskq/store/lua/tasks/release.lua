-- Give messages held under their tokens back to the front of their lists, as if they had not been handed out.
-- KEYS  1 state  2 leases  3 held  4 left  5 wake  6 none  7-11 ready lists, priority 2 to -2  12 alone
-- ARGV  1 now in ms or ''  then runs of: token, ids (concatenated, in the order in which they were leased)
-- Returns { code, now, lost }: code 0 stored; lost: ids whose token is not current (concatenated), nothing was written
--       for them. A repeat finds no token and changes nothing, so no call number is kept.
-- Checked before the first write: types, tokens. The first write frees memory.
local call, sub, byte, char = redis.call, string.sub, string.byte, string.char
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local kinds = { 'hash', 'zset', 'hash', 'hash', 'list', 'none', 'list', 'list', 'list', 'list', 'list', 'list' }
for i, kind in ipairs(kinds) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end

local held, lost, seen, counts = {}, {}, {}, {}
for at = 2, #ARGV, 2 do
  local token, blob = ARGV[at], ARGV[at + 1]
  for i = 1, #blob, 16 do
    local id = sub(blob, i, i + 15)
    local record = call('HGET', KEYS[1], id)
    if record and not seen[id] and byte(record) == 108 and sub(record, 9, 28) == token then
      held[#held + 1], seen[id] = { id, record }, true
      counts[token] = (counts[token] or 0) + 1
    else
      lost[#lost + 1] = id
    end
  end
end
call('DEL', KEYS[6])
for i = #held, 1, -1 do
  local id, record = held[i][1], held[i][2]
  local prio, flags, high, low, crashes, big, small = byte(record, 2, 8)
  local count = math.max(high * 256 + low - 1, 0)
  flags = bit.band(flags, 121)
  if flags + count + crashes + big + small == 0 then
    call('HDEL', KEYS[1], id)
  else
    local head = char(114, prio, flags, math.floor(count / 256), count % 256, crashes, big, small)
    call('HSET', KEYS[1], id, head .. sub(record, 29))
  end
  call('LPUSH', crashes > 1 and KEYS[12] or KEYS[7 + prio], id)
end
for token, n in pairs(counts) do
  if call('HINCRBY', KEYS[4], token, -n) <= 0 then
    call('HDEL', KEYS[4], token)
    call('HDEL', KEYS[3], token)
    call('ZREM', KEYS[2], token)
  end
end
if #held > 0 and call('LLEN', KEYS[5]) == 0 then call('RPUSH', KEYS[5], '1') end
return { 0, now, table.concat(lost) }
