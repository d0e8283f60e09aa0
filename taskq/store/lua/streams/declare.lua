-- Say of a queue that it is a stream queue and what history it keeps, or that it is a list queue.
-- KEYS  as parts/head.lua says, then 1 meta  2 none
-- ARGV  1 stream or list  2 what is retained: count, bytes and age in ms, with a space between
-- Returns { code, messages }: 1 and how many if it shall become a list queue and its stream still holds messages
-- A repeat changes nothing. Checked before the first write: types, what the stream holds. The first write frees memory.
local tally = call('HMGET', KEYS[4], 'appended', 'read', 'last')
if ARGV[1] == 'list' then
  local held = math.max((tonumber(tally[1]) or 0) - (tonumber(tally[2]) or 0), 0)
  local pending = #redis.pcall('XPENDING', KEYS[1], GROUP, '-', '+', 1, GROUP)
  if held + pending + call('HLEN', KEYS[9]) > 0 then
    return { 1, math.max(held + (redis.pcall('XPENDING', KEYS[1], GROUP)[1] or 0), 1) }
  end
  -- what is left there is of leases that were ended by somebody who did not know of entries
  call('DEL', KEYS[2])
  call('HDEL', own[1], 'transport', 'retain')
  return { 0, 0 }
end
call('DEL', own[2])
call('HSET', own[1], 'transport', 'stream', 'retain', ARGV[2])
if redis.pcall('XPENDING', KEYS[1], GROUP).err then found_group(tally[3]) end
return { 0, 0 }
