-- Keep the counters of one queue as they are now: one sample per slot of time, in a ring of slots.
-- KEYS  1 meta  2 samples  3 tally  4 none  5-9 ready lists, priority 2 to -2  10 alone
-- ARGV  1 now in ms or ''  2 length of a slot in ms  3 slots in the ring
-- Returns 1 if it was kept, 0 if there is one of this slot, or if nothing has changed since the last one
-- A sample is its time, enqueued, done, failed, retried, dead, and what is ready now; `last` is the newest one.
-- Checked before the first write: the slot; all keys that are written have been read. The first write frees memory.
local call = redis.call
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local slot = math.floor(now / ARGV[2])
local last = call('HGET', KEYS[2], 'last') or ''
local at, before = string.match(last, '^(%d+) (.*)$')
if at and math.floor(at / ARGV[2]) == slot then return 0 end
local tally, waiting = call('HMGET', KEYS[3], 'appended', 'read'), 0
for i = 5, 10 do waiting = waiting + call('LLEN', KEYS[i]) end
waiting = waiting + math.max((tonumber(tally[1]) or 0) - (tonumber(tally[2]) or 0), 0)
local counts = call('HMGET', KEYS[1], 'enqueued', 'done', 'failed', 'retried', 'dead')
for i = 1, 5 do counts[i] = counts[i] or '0' end
counts[6] = string.format('%.0f', waiting)
local text = table.concat(counts, ' ')
if text == before then return 0 end
text = string.format('%.0f ', now) .. text
call('DEL', KEYS[4])
call('HSET', KEYS[2], string.format('%.0f', slot % ARGV[3]), text, 'last', text)
return 1
