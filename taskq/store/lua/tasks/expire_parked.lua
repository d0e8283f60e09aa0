-- Keep parked messages of one task that nobody knew for too long as dead letters, the longest parked first.
-- KEYS  1 meta  2 body  3 state  4 errors  5 unique  6 tombs  7 cancels  8 results  9 results:due  10 dead  11 parked
--       12 none  13 parked list of the task
-- ARGV  1 now in ms or ''  2 age in ms  3 limit  4 task name  5 tombstone window in ms  6 cap of results
--       7 channel that is told the ids that have a result  8 cap of dead letters
--       9 byte limit of a message's error lines  10 error line  11 result ('' none)  12 its ttl in ms
--       13 byte limit of the bodies that the cap pushes out
-- Returns { buried, left }: how many are dead letters now, and how many entries are left in the list
-- A record without the time of its parking is as old as the entry of its task. Marks of cancelled messages go.
-- Checked before the first write: types. The first write frees memory.
local call, sub, byte, band = redis.call, string.sub, string.byte, bit.band
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local kinds = { 'hash', 'hash', 'hash', 'hash', 'hash', 'zset', 'hash', 'hash', 'zset', 'zset', 'zset', 'none', 'list' }
for i, kind in ipairs(kinds) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local since = tonumber(call('ZSCORE', KEYS[11], ARGV[4]) or nil) or now
local function parked_at(record)
  local flags = byte(record, 3)
  if #record < 16 + band(flags, 16) + band(flags, 32) / 4 then return since end
  return (struct.unpack('>d', sub(record, 9 + band(flags, 16), 16 + band(flags, 16))))
end

local old, marks, taken, head = {}, {}, 0, nil
for i, id in ipairs(call('LRANGE', KEYS[13], 0, ARGV[3])) do
  local record = call('HGET', KEYS[3], id)
  if record and byte(record) == 112 then
    head = parked_at(record)
    if head > now - ARGV[2] or i > tonumber(ARGV[3]) then break end
    old[#old + 1] = { id, record }
  elseif i > tonumber(ARGV[3]) then
    break
  elseif record and byte(record) == 99 then
    marks[#marks + 1] = id
  end
  taken, head = i, nil
end
call('DEL', KEYS[12])
for _, item in ipairs(old) do
  local id, record, flags = item[1], item[2], byte(item[2], 3)
  local digest = sub(record, 9, 24)
  if band(flags, 1) > 0 then call('HDEL', KEYS[7], id) end
  if band(flags, 8) > 0 then call('ZADD', KEYS[6], now + ARGV[5], id) end
  if band(flags, 16) > 0 and call('HGET', KEYS[5], digest) == id then call('HDEL', KEYS[5], digest) end
  call('HSET', KEYS[3], id, 'x' .. sub(record, 2, 2) .. string.char(band(flags, 72)) .. sub(record, 4, 8))
  call('ZADD', KEYS[10], now, id)
  local lines = call('HGET', KEYS[4], id)
  lines = (lines and lines .. '\n' or '') .. ARGV[10]
  if #lines > tonumber(ARGV[9]) then lines = string.gsub(sub(lines, -ARGV[9]), '^[^\n]*\n', '') end
  call('HSET', KEYS[4], id, lines)
  if ARGV[11] ~= '' and tonumber(ARGV[12]) > 0 then
    call('HSET', KEYS[8], id, ARGV[11])
    call('ZADD', KEYS[9], now + ARGV[12], id)
    call('PUBLISH', ARGV[7], id)
  end
end
if #marks > 0 then call('HDEL', KEYS[3], unpack(marks)) end
call('LTRIM', KEYS[13], taken, -1)
local left = call('LLEN', KEYS[13])
if left == 0 then call('ZREM', KEYS[11], ARGV[4]) elseif head then call('ZADD', KEYS[11], 'XX', head, ARGV[4]) end
if #old > 0 then call('HINCRBY', KEYS[1], 'dead', #old) end
local over = call('ZCARD', KEYS[10]) - ARGV[8]
local dropped, bytes = 0, 0
for i, id in ipairs(over > 0 and call('ZRANGE', KEYS[10], 0, math.min(over, 250) - 1) or {}) do
  -- large bodies take time to be freed; but as many go as came
  bytes = bytes + call('HSTRLEN', KEYS[2], id)
  if bytes > tonumber(ARGV[13]) and i > #old then break end
  call('ZREM', KEYS[10], id)
  for key = 2, 4 do call('HDEL', KEYS[key], id) end
  dropped = i
end
if dropped > 0 then call('HINCRBY', KEYS[1], 'dead_dropped', dropped) end
over = call('ZCARD', KEYS[9]) - ARGV[6]
local gone = over > 0 and call('ZPOPMIN', KEYS[9], math.min(over, 500)) or {}
for i = 1, #gone, 2 do call('HDEL', KEYS[8], gone[i]) end
return { #old, left }
