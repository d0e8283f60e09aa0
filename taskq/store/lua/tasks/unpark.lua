-- Bring parked messages of one task back to their ready lists, the oldest first: 256 KiB of them, or one larger one.
-- KEYS  1 body  2 state  3 parked  4 parked list of the task  5 wake  6 none  7-11 ready lists, priority 2 to -2  12 alone
-- ARGV  1 limit; 0 only strikes the task off if nothing of it is parked any more  2 task name
-- Returns { moved, left }
-- Checked before the first write: types. The first write frees memory.
local call, sub, byte = redis.call, string.sub, string.byte
local kinds = { 'hash', 'hash', 'zset', 'list', 'list', 'none', 'list', 'list', 'list', 'list', 'list', 'list' }
for i, kind in ipairs(kinds) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local ids = tonumber(ARGV[1]) > 0 and call('LRANGE', KEYS[4], 0, ARGV[1] - 1) or {}
local moved, taken, bytes = 0, 0, 0
call('DEL', KEYS[6])
for _, id in ipairs(ids) do
  local record = call('HGET', KEYS[2], id)
  -- what is appended to a stream is copied
  if record and bit.band(byte(record, 3) or 0, 64) > 0 then bytes = bytes + call('HSTRLEN', KEYS[1], id) end
  if bytes > 262144 and taken > 0 then break end
  taken = taken + 1
  if record and byte(record) == 112 then
    if sub(record, 3, 8) == '\0\0\0\0\0\0' then
      call('HDEL', KEYS[2], id)
    else
      local flags = byte(record, 3)
      local rest = sub(record, 9, 8 + bit.band(flags, 16)) .. sub(record, #record + 1 - bit.band(flags, 32) / 4)
      call('HSET', KEYS[2], id, 'r' .. sub(record, 2, 8) .. rest)
    end
    call('RPUSH', KEYS[byte(record, 6) > 1 and 12 or 7 + byte(record, 2)], id)
    moved = moved + 1
  elseif record and byte(record) == 99 then
    call('HDEL', KEYS[2], id)
  end
end
call('LTRIM', KEYS[4], taken, -1)
local left = call('LLEN', KEYS[4])
if left == 0 then call('ZREM', KEYS[3], ARGV[2]) end
if moved > 0 and call('LLEN', KEYS[5]) == 0 then call('RPUSH', KEYS[5], '1') end
return { moved, left }
