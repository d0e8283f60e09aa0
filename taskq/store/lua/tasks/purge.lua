-- Remove messages that nobody holds from the front of one list or sorted set, with all that belongs to them.
-- KEYS  1 meta  2 body  3 state  4 errors  5 unique  6 tombs  7 cancels  8 results  9 results:due  10 parked  11 none
--       12 a ready list, alone, a parked list, delayed, dead or quarantine
-- ARGV  1 now in ms or ''  2 limit (at most 250)  3 byte limit  4 tombstone window in ms
--       5 letter of the state that is meant: r ready  d delayed  p parked  x dead  q quarantined
--       6 task name whose parked list this is, or ''
-- Returns { removed, taken, left }: messages removed, entries taken off, entries left. Marks of cancelled messages and
--       entries of messages that are elsewhere go without being counted as removed.
-- A unique key goes only if this message holds it; an explicit id leaves a tombstone, as when it is cancelled.
-- Checked before the first write: types. The first write frees memory.
local call, sub, byte = redis.call, string.sub, string.byte
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local sorted = ARGV[5] ~= 'r' and ARGV[5] ~= 'p'
local kinds = { 'hash', 'hash', 'hash', 'hash', 'hash', 'zset', 'hash', 'hash', 'zset', 'zset', 'none', sorted and 'zset' or 'list' }
for i, kind in ipairs(kinds) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local source, last = KEYS[12], math.min(ARGV[2], 250) - 1
local ids = last >= 0 and call(sorted and 'ZRANGE' or 'LRANGE', source, 0, last) or {}
local states = #ids > 0 and call('HMGET', KEYS[3], unpack(ids)) or {}
local gone, marks, taken, bytes, room = {}, {}, 0, 0, tonumber(ARGV[3])
call('DEL', KEYS[11])
for i, id in ipairs(ids) do
  local record = states[i]
  local kind, flags = byte(record or ARGV[5]), record and byte(record, 3) or 0
  if kind == byte(ARGV[5]) and (record or kind == 114) then
    -- large bodies take time to be freed
    if bit.band(flags, 64) > 0 then bytes = bytes + call('HSTRLEN', KEYS[2], id) end
    if bytes > room and #gone > 0 then break end
    gone[#gone + 1] = id
    if bit.band(flags, 1) > 0 then call('HDEL', KEYS[7], id) end
    local digest = record and sub(record, 9, 24) or ''
    if bit.band(flags, 16) > 0 and call('HGET', KEYS[5], digest) == id then call('HDEL', KEYS[5], digest) end
    if bit.band(flags, 8) > 0 then call('ZADD', KEYS[6], now + ARGV[4], id) end
  elseif kind == 99 and not sorted then
    marks[#marks + 1] = id
  end
  taken = i
end
local removed = 0
if #gone > 0 then
  removed = call('HDEL', KEYS[2], unpack(gone))
  for key = 3, 4 do call('HDEL', KEYS[key], unpack(gone)) end
  if ARGV[5] == 'x' or ARGV[5] == 'q' then
    call('HDEL', KEYS[8], unpack(gone))
    call('ZREM', KEYS[9], unpack(gone))
  end
end
if #marks > 0 then call('HDEL', KEYS[3], unpack(marks)) end
if taken > 0 and sorted then
  call('ZREM', source, unpack(ids, 1, taken))
elseif taken > 0 then
  call('LTRIM', source, taken, -1)
end
if removed > 0 then call('HINCRBY', KEYS[1], 'purged', removed) end
local left = call(sorted and 'ZCARD' or 'LLEN', source)
if ARGV[6] ~= '' and left == 0 then call('ZREM', KEYS[10], ARGV[6]) end
return { removed, taken, left }
