-- Cancel one message: at once if nobody holds it, else leave a request for its holder.
-- KEYS  1 meta  2 body  3 state  4 delayed  5 unique  6 tombs  7 cancels  8 results  9 results:due  10 errors
-- ARGV  1 now in ms or ''  2 id  3 tombstone window in ms  4 outcome ttl in ms  5 channel  6 '1' if its child may be ended
--       7 cap of results
-- Returns 'cancelled' (a repeat too), 'requested' or 'too_late'
-- A ready or parked message becomes a mark that the next lease drops from its list; its id is not accepted before that.
-- Checked before the first write: types, state. The first write frees memory.
local call, sub, byte = redis.call, string.sub, string.byte
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local kinds = { 'hash', 'hash', 'hash', 'zset', 'hash', 'zset', 'hash', 'hash', 'zset', 'hash' }
for i, kind in ipairs(kinds) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local id = ARGV[2]
local record = call('HGET', KEYS[3], id)
if call('HEXISTS', KEYS[2], id) == 0 then
  local outcome = call('HGET', KEYS[8], id)
  if (record and byte(record) == 99) or (outcome and byte(outcome) == 99) then return 'cancelled' end
  return 'too_late'
end
local kind = record and byte(record) or 114
if kind == 120 or kind == 113 then return 'too_late' end
if kind == 108 then
  local holder = sub(record, 9, 28)
  local kill = ARGV[6] == '1' or call('HGET', KEYS[7], id) == holder .. 'k'
  call('HDEL', KEYS[7], id)
  call('HSET', KEYS[7], id, holder .. (kill and 'k' or ''))
  call('HSET', KEYS[3], id, sub(record, 1, 2) .. string.char(bit.bor(byte(record, 3), 1)) .. sub(record, 4))
  return 'requested'
end
call('HDEL', KEYS[2], id)
call('HDEL', KEYS[10], id)
call('HDEL', KEYS[7], id)
local flags = record and byte(record, 3) or 0
local digest = record and sub(record, 9, 24) or ''
if bit.band(flags, 16) > 0 and call('HGET', KEYS[5], digest) == id then call('HDEL', KEYS[5], digest) end
if bit.band(flags, 8) > 0 then call('ZADD', KEYS[6], now + ARGV[3], id) end
if kind == 114 or kind == 112 then
  call('HSET', KEYS[3], id, 'c')
else
  call('HDEL', KEYS[3], id)
  call('ZREM', KEYS[4], id)
end
call('HINCRBY', KEYS[1], 'cancelled', 1)
if tonumber(ARGV[4]) > 0 then
  call('HSET', KEYS[8], id, 'c')
  call('ZADD', KEYS[9], now + ARGV[4], id)
  local over = call('ZCARD', KEYS[9]) - ARGV[7]
  local old = over > 0 and call('ZPOPMIN', KEYS[9], math.min(over, 500)) or {}
  for i = 1, #old, 2 do call('HDEL', KEYS[8], old[i]) end
  call('PUBLISH', ARGV[5], id)
end
return 'cancelled'
