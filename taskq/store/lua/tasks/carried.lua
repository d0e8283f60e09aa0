-- Forget a batch that has arrived.
-- KEYS  1 meta  2 none  3 moves  4 parcels
-- ARGV  1 token  2 how many of it went to the other queue
-- Returns 1, or 0 if it was forgotten before, by which a repeat changes nothing.
-- Checked before the first write: types. The first write frees memory.
for i, kind in ipairs({ 'hash', 'none', 'hash', 'hash' }) do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
redis.call('DEL', KEYS[2])
local there = redis.call('HDEL', KEYS[3], ARGV[1])
if there == 1 then redis.call('HINCRBY', KEYS[1], 'moved', ARGV[2]) end
redis.call('UNLINK', KEYS[4])
return there
