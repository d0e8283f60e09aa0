-- The verb counts; what is unread counts as listed. One more element tells of the stream:
-- { entries, pending, unread, tally (flat), names of the groups (at most 20) }
-- Checked before the first write: there is none.
local reply = verb(own, ARGV)
if reply.err then return reply end
local tally, pending, groups = call('HMGET', KEYS[4], 'appended', 'read', 'last'), 0, {}
local unread = math.max((tonumber(tally[1]) or 0) - (tonumber(tally[2]) or 0), 0)
reply[2][2] = reply[2][2] + unread
if unread > 0 and reply[6][3] == '' then
  local first = call('XRANGE', KEYS[1], '(' .. (tally[3] or '0-0'), '+', 'COUNT', 1)[1]
  reply[6][3] = first and #(first[2][2] or '') == 16 and first[2][2] or ''
end
local known = redis.pcall('XPENDING', KEYS[1], GROUP)
if not known.err then pending = known[1] end
for i, info in ipairs(call('EXISTS', KEYS[1]) == 1 and call('XINFO', 'GROUPS', KEYS[1]) or {}) do
  if i <= 20 then groups[i] = info[2] end
end
reply[7] = { call('XLEN', KEYS[1]), pending, unread, call('HGETALL', KEYS[4]), groups }
return reply
