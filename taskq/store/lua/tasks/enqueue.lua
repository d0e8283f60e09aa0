-- Accept messages into one queue, once per lane number, all or none.
-- KEYS  1 lane  2 meta  3 body  4 state  5 delayed  6 unique  7 tombs  8 wake  9-13 ready lists, priority 2 to -2
-- ARGV  1 now in ms, or '' for the server's time   2 lane number   3 lane ttl in ms   4 tombstone window in ms
--       5 index in KEYS of the ready list if all are plain, else ''
--       then per message: id (16 bytes), body; and, if ARGV 5 is '', its spec:
--       byte priority index 0-4, byte flags, double due, double expires (0 none, negative: that many ms from now), digest
-- Returns { code, answer }: 0 accepted, 1 gap (the lane number is neither the last nor the next), 2 stale (an older number),
--       4 this is a stream queue, whose own script does this (there all ready lists are one key).
--       answer '' means each is new; else 17 bytes a message: n new, e exists, u unique key held; then the id that counts
-- Checked before the first write: lane number, types of all keys, explicit ids, unique keys.
-- The first write may not be a freeing one: a full server must refuse an enqueue.
local call = redis.call
local lane = call('GET', KEYS[1])
local number, last = tonumber(ARGV[2]), 0
if lane then
  local colon = string.find(lane, ':', 1, true)
  last = tonumber(string.sub(lane, 1, colon - 1))
  if number == last then return { 0, string.sub(lane, colon + 1) } end
  if number < last then return { 2, '' } end
end
if number ~= last + 1 then return { 1, '' } end
local streamed, said = KEYS[9] == KEYS[10], call('HGET', KEYS[2], 'transport')
if said and not streamed then return { 4, '' } end
local waiting = call('LLEN', KEYS[8])
local plain = tonumber(ARGV[5])
if plain then
  call('LLEN', KEYS[plain])
  local ids, n = {}, 0
  for i = 6, #ARGV, 2 do
    n = n + 1
    ids[n] = ARGV[i]
  end
  call('HSET', KEYS[3], unpack(ARGV, 6))
  call('RPUSH', KEYS[plain], unpack(ids))
  call('HINCRBY', KEYS[2], 'enqueued', n)
  if streamed and not said then call('HSET', KEYS[2], 'transport', 'stream') end
  if waiting == 0 then call('RPUSH', KEYS[8], '1') end
  call('SET', KEYS[1], ARGV[2] .. ':', 'PX', ARGV[3])
  return { 0, '' }
end

for i = 9, 13 do call('LLEN', KEYS[i]) end
call('HLEN', KEYS[4])
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local earliest = tonumber(call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]) or math.huge
local answers, entries, seen, claimed = {}, {}, {}, {}
for i = 6, #ARGV, 3 do
  local id, spec = ARGV[i], ARGV[i + 2]
  local prio, flags, due, expires = struct.unpack('>BBdd', spec)
  local digest = string.sub(spec, 19)
  local answer = 'n' .. id
  if seen[id] or call('HEXISTS', KEYS[3], id) == 1 or (call('HGET', KEYS[4], id) or false) then
    answer = 'e' .. id
  elseif bit.band(flags, 8) > 0 and (tonumber(call('ZSCORE', KEYS[7], id)) or 0) > now then
    answer = 'e' .. id
  elseif digest ~= '' then
    local holder = claimed[digest] or call('HGET', KEYS[6], digest)
    if holder and (seen[holder] or call('HEXISTS', KEYS[3], holder) == 1) then answer = 'u' .. holder end
  end
  answers[#answers + 1] = answer
  if string.byte(answer) == 110 then
    seen[id] = true
    if digest ~= '' then claimed[digest] = id end
    if due < 0 then due = now - due end
    if expires < 0 then expires = now - expires end
    entries[#entries + 1] = { id, ARGV[i + 1], prio, flags, due, expires, digest }
  end
end
local ring = false
for _, entry in ipairs(entries) do
  local id, prio, flags, due, expires, digest = entry[1], entry[3], entry[4], entry[5], entry[6], entry[7]
  call('HSET', KEYS[3], id, entry[2])
  local rest = digest
  if expires > 0 then rest = rest .. struct.pack('>d', expires) end
  local later = due > now
  if later or flags > 0 then
    call('HSET', KEYS[4], id, string.char(later and 100 or 114, prio, flags, 0, 0, 0, 0, 0) .. rest)
  end
  if digest ~= '' then call('HSET', KEYS[6], digest, id) end
  if bit.band(flags, 8) > 0 then call('ZADD', KEYS[7], now + ARGV[4], id) end
  if later then call('ZADD', KEYS[5], due, id) else call('RPUSH', KEYS[9 + prio], id) end
  if not later or due < earliest then ring = true end
end
if #entries > 0 then call('HINCRBY', KEYS[2], 'enqueued', #entries) end
if #entries > 0 and streamed and not said then call('HSET', KEYS[2], 'transport', 'stream') end
if ring and waiting == 0 then call('RPUSH', KEYS[8], '1') end
local answer = table.concat(answers)
call('SET', KEYS[1], ARGV[2] .. ':' .. answer, 'PX', ARGV[3])
return { 0, answer }
