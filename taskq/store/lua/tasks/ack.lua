-- Store the last outcome of messages held under their tokens that are then gone: done, cancelled or expired.
-- KEYS  1 worker  2 meta  3 body  4 state  5 leases  6 held  7 left  8 results  9 results:due  10 errors  11 unique
--       12 tombs  13 cancels  14 outbox  15 stats
-- ARGV  1 now in ms or ''  2 call number, or '' if it is not to be remembered  3 worker key ttl in ms
--       4 tombstone window in ms  5 cap of results  6 channel that is told the ids that have a result
--       7 number of groups, at most 255; then these: the fields of stats that a message of it adds one to, a line each
--       then runs of: kind (a and d done, c cancelled, e expired), token, ids (concatenated), their groups (a byte each, 0
--       none; or ''), and unless the kind is a, for each id: result ('' none), ttl in ms, follow-up ('' none; id first)
-- Returns { code, now, lost }: code 0 stored (a repeat gets the old answer), 3 refused (an older call);
--       lost: ids whose token is not current (concatenated); nothing was written for them
-- Checked before the first write: call number, types, tokens. The first write frees memory.
local call, sub, byte = redis.call, string.sub, string.byte
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local number = tonumber(ARGV[2])
if number then
  local memory = call('HMGET', KEYS[1], 'ack', 'acked')
  local last = tonumber(memory[1]) or 0
  if number == last then return { 0, now, memory[2] } end
  if number < last then return { 3, now, '' } end
end
for i, key in ipairs(KEYS) do
  local found, kind = call('TYPE', key).ok, (i == 5 or i == 9 or i == 12) and 'zset' or 'hash'
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found) end
end

local gone, odd, lost, seen, counts, results, dues, told, outbox = {}, {}, {}, {}, {}, {}, {}, {}, {}
local tally, sums, stats, at = {}, {}, {}, 8 + ARGV[7]
while at <= #ARGV do
  local kind, token, blob, groups, ids = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], {}
  local word = ({ a = 'done', d = 'done', c = 'cancelled', e = 'expired' })[kind]
  for i = 1, #blob, 16 do ids[#ids + 1] = sub(blob, i, i + 15) end
  local states = call('HMGET', KEYS[4], unpack(ids))
  at = at + 4
  for i, id in ipairs(ids) do
    local record = states[i]
    if record and not seen[id] and byte(record) == 108 and sub(record, 9, 28) == token then
      local group = byte(groups, i) or 0
      seen[id], gone[#gone + 1], counts[token] = true, id, (counts[token] or 0) + 1
      tally[word], sums[group] = (tally[word] or 0) + 1, (sums[group] or 0) + 1
      if sub(record, 3, 8) ~= '\0\0\1\0\0\0' then odd[#odd + 1] = { id, record } end
      if kind ~= 'a' and ARGV[at] ~= '' and tonumber(ARGV[at + 1]) > 0 then
        results[#results + 1], results[#results + 2] = id, ARGV[at]
        dues[#dues + 1], dues[#dues + 2], told[#told + 1] = now + ARGV[at + 1], id, id
      end
      local follow = kind ~= 'a' and ARGV[at + 2] or ''
      if follow ~= '' then outbox[#outbox + 1], outbox[#outbox + 2] = sub(follow, 1, 16), sub(follow, 17) end
    else
      lost[#lost + 1] = id
    end
    if kind ~= 'a' then at = at + 3 end
  end
end

for key = 3, 4 do call('HDEL', KEYS[key], unpack(#gone > 0 and gone or { '' })) end
for _, pair in ipairs(odd) do
  local id, record, flags = pair[1], pair[2], byte(pair[2], 3)
  call('HDEL', KEYS[10], id)
  if bit.band(flags, 1) > 0 then call('HDEL', KEYS[13], id) end
  if bit.band(flags, 8) > 0 then call('ZADD', KEYS[12], now + ARGV[4], id) end
  local digest = sub(record, 29, 44)
  if bit.band(flags, 16) > 0 and call('HGET', KEYS[11], digest) == id then call('HDEL', KEYS[11], digest) end
end
for token, n in pairs(counts) do
  if call('HINCRBY', KEYS[7], token, -n) <= 0 then
    call('HDEL', KEYS[7], token)
    call('HDEL', KEYS[6], token)
    call('ZREM', KEYS[5], token)
  end
end
if #outbox > 0 then call('HSET', KEYS[14], unpack(outbox)) end
if #told > 0 then
  call('HSET', KEYS[8], unpack(results))
  call('ZADD', KEYS[9], unpack(dues))
  local over = call('ZCARD', KEYS[9]) - ARGV[5]
  local old = over > 0 and call('ZPOPMIN', KEYS[9], math.min(over, 500)) or {}
  for i = 1, #old, 2 do call('HDEL', KEYS[8], old[i]) end
  call('PUBLISH', ARGV[6], table.concat(told))
end
for name, n in pairs(tally) do call('HINCRBY', KEYS[2], name, n) end
for group, n in pairs(sums) do -- a field has a space in it, so the number of groups, where group 0 would be, is none
  for field in string.gmatch(ARGV[7 + group], '[^\n]+ [^\n]+') do stats[field] = (stats[field] or 0) + n end
end
for field, n in pairs(stats) do call('HINCRBY', KEYS[15], field, n) end
local answer = table.concat(lost)
if number then
  call('HSET', KEYS[1], 'ack', number, 'acked', answer)
  call('PEXPIRE', KEYS[1], ARGV[3])
end
return { 0, now, answer }
