-- Take messages that wait in one place out of a queue, to carry them to another: each becomes a parcel, whole.
-- KEYS  1 meta  2 body  3 state  4 errors  5 unique  6 tombs  7 none  8 parked  9 moves  10 parcels
--       11 a ready list, a parked list, delayed, dead or quarantine
-- ARGV  1 now in ms or ''  2 token of this move  3 target queue  4 letter of the state: r d p x q
--       5 priority index of the ready list, or ''  6 task of the parked list, or ''  7 tombstone window in ms
--       8 limit of bytes, bodies and lines together  9 how many of the list are before the first id, about
--       10 '1' if what is ready need not be in the list: it is unread in a stream  then ids
-- Returns the ids that were taken, concatenated; a repeat of a token answers the same ids.
--       Left alone: what is not in that state and place, what a list has far behind ARGV 9 and its first 100,000,
--       suspects (two crashes), what is to be cancelled, what is beyond the limit.
--       A parcel is a head as of a record, two doubles (when due or buried, expiry), the digest of a unique key, lines
--       (after their length in 4 bytes), body. A unique key is given up. An explicit id leaves a tombstone that ends
--       with half a millisecond: so a message that comes back is told from an id that is used again.
-- Checked before the first write: types, token, state and place of each message. The first write frees memory.
local call, sub, byte, char = redis.call, string.sub, string.byte, string.char
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local token, letter, place, listed = ARGV[2], ARGV[4], KEYS[11], ARGV[4] == 'r' or ARGV[4] == 'p'
local kinds = { 'hash', 'hash', 'hash', 'hash', 'hash', 'zset', 'none', 'zset', 'hash', 'hash', 'zset' }
if listed then kinds[11] = 'list' end
for i, kind in ipairs(kinds) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local before = call('HGET', KEYS[9], token)
if before then return sub(before, (select(2, string.find(before, '^%d+ %S+ ')) or 0) + 1) end

local at, far = {}, 3
if listed then
  local from = math.max(ARGV[9] - 500, 0)
  for i, id in ipairs(call('LRANGE', place, from, from + 1499)) do at[id] = from + i - 1 end
end
local taken, seen, bytes, holes = {}, {}, 0, 0
for i = 11, #ARGV do
  local id = ARGV[i]
  local record = call('HGET', KEYS[3], id)
  local kind, prio, flags, high, low, crashes = byte(record or (letter == 'r' and 'r' or '-'), 1, 6)
  local free = kind == byte(letter) and not seen[id] and bit.band(flags or 0, 1) == 0 and (crashes or 0) < 2
  local score = free and not listed and call('ZSCORE', place, id)
  if free and listed and not at[id] and far > 0 then
    at[id], far = call('LPOS', place, id, 'MAXLEN', 100000) or nil, far - 1
  end
  local size = free and call('HSTRLEN', KEYS[2], id) or 0
  local weight = size > 0 and size + call('HSTRLEN', KEYS[4], id)
  if weight and (score or at[id] or (listed and ARGV[10] == '1')) then
    if bytes + weight > tonumber(ARGV[8]) and #taken > 0 then break end
    seen[id], bytes, taken[#taken + 1] = true, bytes + weight, { id, record, tonumber(score or 0) }
  end
end
if #taken == 0 then return '' end

call('DEL', KEYS[7])
local ids = {}
for i, item in ipairs(taken) do
  local id, record = item[1], item[2] or char(114, tonumber(ARGV[5]) or 2, 0, 0, 0, 0, 0, 0)
  local flags = bit.band(byte(record, 3), 120)
  local digest = bit.band(flags, 16) > 0 and sub(record, 9, 24) or ''
  local expires = bit.band(flags, 32) > 0 and struct.unpack('>d', sub(record, -8)) or 0
  local lines, body = call('HGET', KEYS[4], id) or '', call('HGET', KEYS[2], id)
  local head = (letter == 'p' and 'r' or letter) .. sub(record, 2, 2) .. char(flags) .. sub(record, 4, 8)
  local times = struct.pack('>dd', item[3], expires)
  call('HSET', KEYS[10], id, head .. times .. digest .. struct.pack('>I4', #lines) .. lines .. body)
  if digest ~= '' and call('HGET', KEYS[5], digest) == id then call('HDEL', KEYS[5], digest) end
  if bit.band(flags, 8) > 0 then call('ZADD', KEYS[6], math.floor(now + ARGV[7]) + 0.5, id) end
  if listed and at[id] then
    call('LSET', place, at[id], '') -- all are taken off the list at once
    holes = holes + 1
  elseif not listed then
    call('ZREM', place, id)
  end
  ids[i] = id
end
for key = 2, 4 do call('HDEL', KEYS[key], unpack(ids)) end
if holes > 0 then call('LREM', place, at[ids[1]] and at[ids[1]] * 2 > call('LLEN', place) and -holes or holes, '') end
if ARGV[6] ~= '' and call('LLEN', place) == 0 then call('ZREM', KEYS[8], ARGV[6]) end
local all = table.concat(ids)
call('HSET', KEYS[9], token, string.format('%.0f', now) .. ' ' .. ARGV[3] .. ' ' .. all)
return all
