-- Stop handing out the messages of a queue, or go on and ring.
-- KEYS  1 meta  2 wake  3 none
-- ARGV  1 '1' to pause, '' to go on
-- Returns 1. What is held may be settled and extended meanwhile. A repeat changes nothing.
-- Checked before the first write: types. The first write frees memory.
local call = redis.call
for i, kind in ipairs({ 'hash', 'list', 'none' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
call('DEL', KEYS[3])
if ARGV[1] == '1' then
  call('HSET', KEYS[1], 'paused', '1')
else
  call('HDEL', KEYS[1], 'paused')
  if call('LLEN', KEYS[2]) == 0 then call('RPUSH', KEYS[2], '1') end
end
return 1
