-- Bring dead letters and quarantined messages back to their ready lists, with all counters at zero.
-- KEYS  1 meta  2 body  3 state  4 dead  5 quarantine  6 errors  7 results  8 results:due  9 wake  10 none
--       11-15 ready lists, priority 2 to -2
-- ARGV  ids; one with a time in ms behind its 16 bytes counts only if it was buried at that time
-- Returns how many were brought back; an id that is not dead or quarantined is left alone.
-- Checked before the first write: types. The first write frees memory.
local call, sub, byte = redis.call, string.sub, string.byte
local kinds = { 'hash', 'hash', 'hash', 'zset', 'zset', 'hash', 'hash', 'zset', 'list', 'none', 'list', 'list', 'list', 'list', 'list' }
for i, kind in ipairs(kinds) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local moved = 0
call('DEL', KEYS[10])
for _, item in ipairs(ARGV) do
  local id, at = sub(item, 1, 16), tonumber(sub(item, 17))
  local record = call('HGET', KEYS[3], id)
  local kind = record and byte(record)
  local index = KEYS[kind == 120 and 4 or 5]
  local meant = not at or tonumber(call('ZSCORE', index, id) or nil) == at
  if meant and (kind == 120 or kind == 113) and call('HEXISTS', KEYS[2], id) == 1 then
    call('ZREM', index, id)
    call('HDEL', KEYS[6], id)
    call('HDEL', KEYS[7], id)
    call('ZREM', KEYS[8], id)
    local flags = byte(record, 3)
    if flags == 0 then
      call('HDEL', KEYS[3], id)
    else
      call('HSET', KEYS[3], id, 'r' .. sub(record, 2, 3) .. '\0\0\0\0\0')
    end
    call('RPUSH', KEYS[11 + byte(record, 2)], id)
    moved = moved + 1
  end
end
if moved > 0 then
  call('HINCRBY', KEYS[1], 'redriven', moved)
  if call('LLEN', KEYS[9]) == 0 then call('RPUSH', KEYS[9], '1') end
end
return moved
