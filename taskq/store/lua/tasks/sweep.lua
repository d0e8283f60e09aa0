-- Look after one queue: tell what has lapsed, trim what is too old, ring if work waits and nobody was told.
-- KEYS  1 meta  2 body  3 state  4 leases  5 delayed  6 wake  7 results  8 results:due  9 tombs  10 dead  11 quarantine
--       12 errors  13 outbox  14 parked  15 none  16-20 ready lists, priority 2 to -2  21 alone
-- ARGV  1 now in ms or ''  2 lease in ms  3 limit per kind of chore  4 the least time between two sweeps in ms
--       5 '1' if the caller saw the server's clock jump, else ''  6 age in ms at which dead letters are dropped
--       7 byte limit of the bodies that go with dead letters; one goes even if it is larger
-- Returns { code, now, due, deadline, alone, outbox, parked, lapsed tokens... }: code 0 swept, 1 somebody just did,
--       2 more if it is a stream queue;
--       due and deadline: the earliest delayed time and lease deadline, or ''; alone, outbox: how many wait there;
--       parked: since when the oldest unknown task has been waiting, or ''
-- Stall guard: after a gap of more than half a lease without any sweep (or a clock jump) nothing lapses for one lease, so
-- that heartbeats can arrive first; at most three times in a row.
-- Checked before the first write: types. The first write frees memory.
local call = redis.call
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local lease, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local kinds = { 'hash', 'hash', 'hash', 'zset', 'zset', 'list', 'hash', 'zset', 'zset', 'zset', 'zset', 'hash', 'hash', 'zset', 'none' }
for i, key in ipairs(KEYS) do
  local found = call('TYPE', key).ok
  if found ~= (kinds[i] or 'list') and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found)
  end
end
local function first(key) return call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or '' end
local meta = call('HMGET', KEYS[1], 'swept', 'grace', 'graces', 'paused', 'transport')
local swept, grace, graces = tonumber(meta[1]), tonumber(meta[2]) or 0, tonumber(meta[3]) or 0
local fresh = swept and now >= swept and now - swept < tonumber(ARGV[4]) and ARGV[5] == ''
local reply = { (fresh and 1 or 0) + (meta[5] and 2 or 0), now, first(KEYS[5]), first(KEYS[4]), call('LLEN', KEYS[21]), call('HLEN', KEYS[13]), first(KEYS[14]) }
if fresh then return reply end

call('DEL', KEYS[15])
local stalled = swept and (now - swept > lease / 2 or now < swept - lease / 2)
if (stalled or ARGV[5] == '1') and graces < 3 then
  grace, graces = now + lease, graces + 1
elseif not stalled and ARGV[5] ~= '1' and now >= grace then
  graces = 0
end
call('HSET', KEYS[1], 'swept', now, 'grace', grace, 'graces', graces)

if swept and now < swept then
  -- The clock went back: such a deadline would hold its messages for as long as the clock jumped. Only then, since a
  -- worker of another release may lease for longer than this one.
  for _, token in ipairs(call('ZRANGEBYSCORE', KEYS[4], now + 2 * lease, '+inf')) do
    call('ZADD', KEYS[4], now + lease, token)
  end
end
if now >= grace then
  for _, token in ipairs(call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, limit)) do reply[#reply + 1] = token end
else
  reply[4] = string.format('%.0f', grace)
end

local room = tonumber(ARGV[7])
local function expire(index, before, hashes)
  local ids = call('ZRANGEBYSCORE', KEYS[index], '-inf', before, 'LIMIT', 0, limit)
  for i, id in ipairs(index == 8 and {} or ids) do
    -- large bodies take time to be freed
    room = room - call('HSTRLEN', KEYS[2], id)
    if room < 0 and i > 1 then
      ids = { unpack(ids, 1, i - 1) }
      break
    end
  end
  if #ids == 0 then return end
  call('ZREM', KEYS[index], unpack(ids))
  for _, hash in ipairs(hashes) do call('HDEL', KEYS[hash], unpack(ids)) end
  if index == 10 then call('HINCRBY', KEYS[1], 'dead_dropped', #ids) end
end
expire(8, now, { 7 })
local old = math.min(call('ZCOUNT', KEYS[9], '-inf', now), 10 * limit)
if old > 0 then call('ZREMRANGEBYRANK', KEYS[9], 0, old - 1) end
expire(10, now - ARGV[6], { 2, 3, 12 })
expire(11, now - ARGV[6], { 2, 3, 12 })

if not meta[4] and call('LLEN', KEYS[6]) == 0 then
  local waits = reply[3] ~= '' and tonumber(reply[3]) <= now
  for i = 16, 20 do waits = waits or call('LLEN', KEYS[i]) > 0 end
  if waits then call('RPUSH', KEYS[6], '1') end
end
return reply
