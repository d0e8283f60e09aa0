-- Remove messages that wait, wherever they are, with all that belongs to them.
-- KEYS  1 meta  2 body  3 state  4 errors  5 unique  6 tombs  7 cancels  8 delayed  9 none
-- ARGV  1 now in ms or ''  2 tombstone window in ms  3 byte limit  4 letter of the state: r d p  then ids
-- Returns { removed, looked }: of how many ids this was, since large bodies are freed a few at a time. What is not in that
--       state any more is left alone. A ready or parked one becomes a mark that the next lease drops from its list.
-- A unique key goes only if this message holds it; an explicit id leaves a tombstone, as when it is cancelled.
-- Checked before the first write: types. The first write frees memory.
local call, sub, byte = redis.call, string.sub, string.byte
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
for i, kind in ipairs({ 'hash', 'hash', 'hash', 'hash', 'hash', 'zset', 'hash', 'zset', 'none' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
call('DEL', KEYS[9])
local removed, looked, bytes = 0, 0, 0
for i = 5, #ARGV do
  local id = ARGV[i]
  local record, size = call('HGET', KEYS[3], id), call('HSTRLEN', KEYS[2], id)
  if size > 0 and sub(record or 'r', 1, 1) == ARGV[4] then
    bytes = bytes + (size > 1000 and size or 0)
    if bytes > tonumber(ARGV[3]) and removed > 0 then break end
    local flags = record and byte(record, 3) or 0
    local digest = bit.band(flags, 16) > 0 and sub(record, 9, 24) or ''
    for key = 2, 4 do call('HDEL', KEYS[key], id) end
    call('HDEL', KEYS[7], id)
    if digest ~= '' and call('HGET', KEYS[5], digest) == id then call('HDEL', KEYS[5], digest) end
    if bit.band(flags, 8) > 0 then call('ZADD', KEYS[6], now + ARGV[2], id) end
    if ARGV[4] == 'd' then call('ZREM', KEYS[8], id) else call('HSET', KEYS[3], id, 'c') end
    removed = removed + 1
  end
  looked = looked + 1
end
if removed > 0 then call('HINCRBY', KEYS[1], 'purged', removed) end
return { removed, looked }
