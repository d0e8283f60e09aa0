-- Look after the stream of a queue: its group is there, nobody sleeps while entries wait, history goes when it is over.
-- KEYS  as parts/head.lua says, then 1 meta  2 wake  3 none
-- ARGV  1 now in ms or ''  2 what is retained if nobody has said so, as in declare, or ''
-- Returns { more, healed, lost, foreign, repair, trimmed }: more is 1 if another call would go on; healed, lost and
--       foreign count since ever; repair is 1 while messages wait that repair must append; trimmed entries by this call
-- History are the steps whose messages are all delivered: none is pending, none unread. The oldest step goes while what
-- is left is not less than the count or the bytes that are retained, or once it is older than their age.
-- Checked before the first write: types. The first write frees memory.
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local meta = call('HMGET', own[1], 'transport', 'retain', 'paused')
local tally = call('HMGET', KEYS[4], 'appended', 'read', 'last', 'passed', 'bytes', 'doubt')
local last, history, size = tally[3], tonumber(tally[4]) or 0, tonumber(tally[5]) or 0
call('DEL', own[3])
if not meta[1] then call('HSET', own[1], 'transport', 'stream') end
if not meta[2] and ARGV[2] ~= '' then call('HSET', own[1], 'retain', ARGV[2]) end

local unread = (tonumber(tally[1]) or 0) - (tonumber(tally[2]) or 0)
if not tally[1] then
  local found = count_anew()
  if found then last, unread, history, size = unpack(found, 1, 4) end
end
local first = redis.pcall('XPENDING', KEYS[1], GROUP, '-', '+', 1, GROUP)
if first.err then last = found_group(last) end
local restore = call('HGET', KEYS[4], 'restore')
if restore then restore_some(restore) end
if (unread ~= 0 or tally[6]) and not meta[3] and call('LLEN', own[2]) == 0 then call('RPUSH', own[2], '1') end

local more, trimmed, moved, dropped, freed = restore and 1 or 0, 0, 0, 0, 0
local held = not first.err and first[1] and first[1][1]
if held and not restore then
  -- what was set right was no hold up, so history is looked at again
  local wrong = audit(held)
  if wrong == 0 then call('HDEL', KEYS[4], 'mending') else more = 1 end
  if wrong > 0 and call('HSETNX', KEYS[4], 'mending', 1) == 1 then call('HINCRBY', KEYS[4], 'healed', 1) end
end
for _, step in ipairs((restore or first.err) and {} or call('LRANGE', KEYS[5], 0, 99)) do
  local entry, n, b = string.match(step, '^(%S+) (%d+) (%d+)$')
  if not last or after(entry, last) or (held and not after(held, entry)) then break end
  call('RPUSH', KEYS[6], step .. ' ' .. string.format('%.0f', now))
  moved, history, size = moved + 1, history + n, size + b
end
if moved > 0 then call('LTRIM', KEYS[5], moved, -1) end
local count, bytes, age = string.match(meta[2] or ARGV[2], '^(%d+) (%d+) (%d+)$')
for _, step in ipairs(count and call('LRANGE', KEYS[6], 0, 9) or {}) do
  local ms, seq, n, b, at = string.match(step, '^(%d+)-(%d+) (%d+) (%d+) (%d+)$')
  if history - n < tonumber(count) and size - b < tonumber(bytes) and now - at <= tonumber(age) then break end
  freed = freed + b
  if freed > 2097152 and dropped > 0 then more = 1 break end -- large bodies take time to be freed
  trimmed = trimmed + call('XTRIM', KEYS[1], 'MINID', ms .. '-' .. string.format('%.0f', seq + 1))
  dropped, history, size = dropped + 1, history - n, size - b
end
if dropped > 0 then call('LTRIM', KEYS[6], dropped, -1) end
if moved + dropped > 0 then call('HSET', KEYS[4], 'passed', math.max(history, 0), 'bytes', math.max(size, 0)) end
if moved == 100 or dropped == 10 then more = 1 end
local counts = call('HMGET', KEYS[4], 'healed', 'lost', 'foreign', 'repair')
local function count_of(i) return tonumber(counts[i]) or 0 end
return { more, count_of(1), count_of(2), count_of(3), counts[4] and 1 or 0, trimmed }
