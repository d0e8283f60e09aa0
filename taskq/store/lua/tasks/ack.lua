-- Store the last outcome of messages held under their tokens that are then gone: done, cancelled or expired.
-- KEYS  1 worker  2 meta  3 body  4 state  5 leases  6 held  7 left  8 results  9 results:due  10 errors  11 unique
--       12 tombs  13 cancels  14 outbox
-- ARGV  1 now in ms or ''  2 call number, or '' if it is not to be remembered  3 worker key ttl in ms
--       4 tombstone window in ms  5 cap of results  6 channel that is told the ids that have a result
--       then runs of: kind, token, ids (concatenated), and unless the kind is 'a', for each id: result ('' none), its ttl
--       in ms, follow-up for the outbox ('' none; its id first). Kinds: a done, nothing kept; d done; c cancelled; e expired
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

local gone, odd, lost, seen, counts, tally = {}, {}, {}, {}, {}, { a = 0, d = 0, c = 0, e = 0 }
local results, dues, told, outbox = {}, {}, {}, {}
local at = 7
while at <= #ARGV do
  local kind, token, blob = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local ids, held = {}, 0
  for i = 1, #blob, 16 do ids[#ids + 1] = sub(blob, i, i + 15) end
  local states = call('HMGET', KEYS[4], unpack(ids))
  at = at + 3
  for i, id in ipairs(ids) do
    local record = states[i]
    if record and not seen[id] and byte(record) == 108 and sub(record, 9, 28) == token then
      held, seen[id], gone[#gone + 1] = held + 1, true, id
      if sub(record, 3, 8) ~= '\0\0\1\0\0\0' then odd[#odd + 1] = { id, record } end
      if kind ~= 'a' then
        if ARGV[at] ~= '' and tonumber(ARGV[at + 1]) > 0 then
          results[#results + 1], results[#results + 2] = id, ARGV[at]
          dues[#dues + 1], dues[#dues + 2], told[#told + 1] = now + ARGV[at + 1], id, id
        end
        local follow = ARGV[at + 2]
        if follow ~= '' then outbox[#outbox + 1], outbox[#outbox + 2] = sub(follow, 1, 16), sub(follow, 17) end
      end
    else
      lost[#lost + 1] = id
    end
    if kind ~= 'a' then at = at + 3 end
  end
  tally[kind] = tally[kind] + held
  counts[token] = (counts[token] or 0) + held
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
  if n > 0 and call('HINCRBY', KEYS[7], token, -n) <= 0 then
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
for kind, n in pairs(tally) do
  if n > 0 then call('HINCRBY', KEYS[2], ({ a = 'done', d = 'done', c = 'cancelled', e = 'expired' })[kind], n) end
end
local answer = table.concat(lost)
if number then
  call('HSET', KEYS[1], 'ack', number, 'acked', answer)
  call('PEXPIRE', KEYS[1], ARGV[3])
end
return { 0, now, answer }
