-- The verb empties the ready list; before, it is filled up from the stream. What it took is acknowledged.
-- Returns as the verb does; left counts what is unread, too.
-- Checked before the first write: nothing more.
local list, limit = own[12], math.min(ARGV[2], 250)
local first = ARGV[5] == 'r' and sub(list, -8) == ':ready:0'
local checked = verb(own, { ARGV[1], '0', unpack(ARGV, 3) }) -- of nothing: its checks come before the first read
if checked.err then return checked end
if first and call('LLEN', list) < limit then
  local got, failure = read(limit - call('LLEN', list), call('LRANGE', list, 0, -1))
  if failure then return failure end
  keep(list, got)
end
local ids = ARGV[5] == 'r' and limit > 0 and call('LRANGE', list, 0, limit - 1) or {}
local reply = verb(own, ARGV)
if reply.err then return reply end
settle({ unpack(ids, 1, math.min(#ids, reply[2])) })
local tally = call('HMGET', KEYS[4], 'appended', 'read')
if first then reply[3] = reply[3] + math.max((tonumber(tally[1]) or 0) - (tonumber(tally[2]) or 0), 0) end
return reply
