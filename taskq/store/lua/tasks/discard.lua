-- Remove dead letters and quarantined messages for good.
-- KEYS  1 body  2 state  3 dead  4 quarantine  5 errors
-- ARGV  ids; one with a time in ms behind its 16 bytes counts only if it was buried at that time
-- Returns how many were removed; an id that is not dead or quarantined is left alone.
-- Checked before the first write: types. The first write (ZREM) frees memory.
local call, sub, byte = redis.call, string.sub, string.byte
for i, kind in ipairs({ 'hash', 'hash', 'zset', 'zset', 'hash' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local removed = 0
for _, item in ipairs(ARGV) do
  local id, at = sub(item, 1, 16), tonumber(sub(item, 17))
  local record = call('HGET', KEYS[2], id)
  local kind = record and byte(record)
  local index = KEYS[kind == 120 and 3 or 4]
  local meant = not at or tonumber(call('ZSCORE', index, id) or nil) == at
  if meant and (kind == 120 or kind == 113) then
    call('ZREM', index, id)
    call('HDEL', KEYS[2], id)
    call('HDEL', KEYS[1], id)
    call('HDEL', KEYS[5], id)
    removed = removed + 1
  end
end
return removed
