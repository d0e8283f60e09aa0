-- Keep what a running message says of its progress, while it is held under its token.
-- KEYS  1 state  2 progress of the message  3 none
-- ARGV  1 token  2 id  3 text  4 how long it is kept, in ms
-- Returns 1 if it was stored, 0 if that token is not current. A repeat changes nothing.
-- Checked before the first write: types, token. The first write frees memory.
local call, sub, byte = redis.call, string.sub, string.byte
for i, kind in ipairs({ 'hash', 'string', 'none' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local record = call('HGET', KEYS[1], ARGV[2])
if not record or byte(record) ~= 108 or sub(record, 9, 28) ~= ARGV[1] then return 0 end
call('DEL', KEYS[3])
call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
return 1
