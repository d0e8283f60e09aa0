-- Say of a queue that it is a stream queue and what history it keeps, or that it is a list queue.
-- KEYS  as parts/head.lua says, then 1 meta  2 none
-- ARGV  1 stream or list  2 what is retained: count, bytes and age in ms, with a space between
-- Returns { code, messages }: 1 and how many if it shall become a list queue and its stream still holds messages
-- A repeat changes nothing. Checked before the first write: types, what the stream holds. The first write frees memory.
local tally = call('HMGET', KEYS[4], 'appended', 'read', 'last')
if ARGV[1] == 'list' then
  local held = math.max((tonumber(tally[1]) or 0) - (tonumber(tally[2]) or 0), 0)
  if held + call('HLEN', KEYS[2]) > 0 then return { 1, held + (redis.pcall('XPENDING', KEYS[1], GROUP)[1] or 0) } end
  call('HDEL', own[1], 'transport', 'retain')
  return { 0, 0 }
end
call('DEL', own[2])
call('HSET', own[1], 'transport', 'stream', 'retain', ARGV[2])
if redis.pcall('XPENDING', KEYS[1], GROUP).err then found_group(tally[3]) end
return { 0, 0 }
