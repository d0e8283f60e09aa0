-- Say of definitions of schedules that a live worker declares them.
-- KEYS  1.. the entries
-- ARGV  1 now in ms or ''  2.. for each entry: the digest of the definition
-- Returns { now, code per entry... }: 0 it is the one in use, 1 there is no entry or it does not know this definition,
--       2 it knows it, and another is in use
-- An entry remembers a definition in its field `d:<digest>`: when it was last declared.
-- Checked before the first write: types. The first write frees memory.
local call = redis.call
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local reply = { now }
for i, key in ipairs(KEYS) do
  local digest = ARGV[i + 1]
  local entry = call('HMGET', key, 'digest', 'd:' .. digest)
  reply[i + 1] = not entry[2] and 1 or entry[1] == digest and 0 or 2
end
for i, key in ipairs(KEYS) do
  if reply[i + 1] ~= 1 then
    call('HDEL', key, 'd:' .. ARGV[i + 1])
    call('HSET', key, 'd:' .. ARGV[i + 1], now)
  end
end
return reply
