-- Forget in the lists of some keys what is no longer in the log.
-- KEYS  1 log  then the lists
-- ARGV  none
-- Returns how many ids were forgotten.
-- Checked before the first write: types. It only frees.
local call, count = redis.call, 0
for i, key in ipairs(KEYS) do
  local kind = call('TYPE', key).ok
  if kind ~= 'none' and kind ~= (i == 1 and 'stream' or 'list') then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. kind)
  end
end
for i = 2, #KEYS do
  local id = call('LINDEX', KEYS[i], 0)
  while id and #call('XRANGE', KEYS[1], id, id) == 0 do
    call('LPOP', KEYS[i])
    count, id = count + 1, call('LINDEX', KEYS[i], 0)
  end
end
return count
