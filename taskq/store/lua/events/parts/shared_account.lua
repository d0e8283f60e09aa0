-- What ends shared_take: the position of the group only moves forward, and what left the log unsettled is counted.
-- Every record up to the last one that was read is settled, pending, or lost, so the last is a difference. It is not
-- known while the last one that was read is itself gone; then the count of before stands.
local pending = call('XPENDING', KEYS[1], ARGV[1])
local kept = call('HMGET', KEYS[2], 'at', 'from', 'done', 'lost_before', 'lost')
local read = '0-0'
for _, group in ipairs(call('XINFO', 'GROUPS', KEYS[1])) do
  if group[2] == ARGV[1] then read = group[8] end
end
local number, position = numbers(call('XRANGE', KEYS[1], read, read)[1]), read
local settled = number
if pending[1] > 0 then
  local first = numbers(call('XRANGE', KEYS[1], pending[2], pending[2])[1])
  settled = first and first - 1
  local ms, seq = split(pending[2])
  local before = seq > 0 and string.format('%.0f', seq - 1) or '18446744073709551615'
  position = string.format('%.0f', seq > 0 and ms or ms - 1) .. '-' .. before
end
if not kept[1] or later(position, kept[1]) then
  call('HSET', KEYS[2], 'at', position)
  if settled then call('HSET', KEYS[2], 'n', settled) end
end
local lost = tonumber(kept[5]) or 0
if number then
  local missing = number - (tonumber(kept[2]) or 0) - (tonumber(kept[3]) or 0) - pending[1]
  if missing + (tonumber(kept[4]) or 0) > lost then
    lost = missing + (tonumber(kept[4]) or 0)
    call('HSET', KEYS[2], 'lost', lost)
  end
end
local due = tonumber(call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2])
if due then next = math.min(next, math.max(due - now, 0)) end
return { 0, now, next < math.huge and next or -1, call('ZCARD', KEYS[4]) > 0 and 1 or 0, lost, rows }
