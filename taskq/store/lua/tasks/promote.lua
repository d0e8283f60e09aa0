-- Move delayed messages that are due to their ready lists, the earliest first: 256 KiB of them, or one larger one.
-- KEYS  1 state  2 delayed  3 wake  4 body  5-9 ready lists, priority 2 to -2
-- ARGV  1 now in ms or ''  2 limit
-- Returns { moved, now, due }: due is the earliest time that is left, or ''
-- Checked before the first write: types. The first write (ZREM) frees memory.
local call, byte, sub = redis.call, string.byte, string.sub
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local ids = call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[2])
local moved = 0
if #ids > 0 then
  local states, bytes = call('HMGET', KEYS[1], unpack(ids)), 0
  for i, id in ipairs(ids) do
    -- what is appended to a stream is copied
    local large = states[i] and bit.band(byte(states[i], 3) or 0, 64) > 0
    bytes = bytes + (large and call('HSTRLEN', KEYS[4], id) or 0)
    if bytes > 262144 and i > 1 then
      ids = { unpack(ids, 1, i - 1) }
      break
    end
  end
  for i = 5, 9 do call('LLEN', KEYS[i]) end
  local waiting, lists, sets, plain = call('LLEN', KEYS[3]), { {}, {}, {}, {}, {} }, {}, {}
  for i, id in ipairs(ids) do
    local record = states[i]
    -- None, or a damaged one that would stop all others.
    if not record or record ~= 'c' and not string.find(record, '^[rdlpxq][%z\1-\4]......') then record = 'd\2\0\0\0\0\0\0' end
    if byte(record) == 100 and call('HEXISTS', KEYS[4], id) == 0 then
      plain[#plain + 1] = id
    elseif byte(record) == 100 then
      local list = lists[byte(record, 2) + 1]
      list[#list + 1], moved = id, moved + 1
      if sub(record, 3, 8) == '\0\0\0\0\0\0' then
        plain[#plain + 1] = id
      else
        sets[#sets + 1], sets[#sets + 2] = id, 'r' .. sub(record, 2)
      end
    end
  end
  call('ZREM', KEYS[2], unpack(ids))
  if #plain > 0 then call('HDEL', KEYS[1], unpack(plain)) end
  if #sets > 0 then call('HSET', KEYS[1], unpack(sets)) end
  for i, list in ipairs(lists) do
    if #list > 0 then call('RPUSH', KEYS[4 + i], unpack(list)) end
  end
  if moved > 0 and waiting == 0 then call('RPUSH', KEYS[3], '1') end
end
return { moved, now, call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or '' }
