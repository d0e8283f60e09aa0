-- What waits in the lists goes first; then the stream is read. A batch of plain messages that were just read is granted
-- here as the verb would do it; all else goes through the ready list, and the verb.
-- Checked before the first write: call number, pause, types; what was read and is not leased waits in the ready list.
local token, number, limit, waiting = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5]), {}
local meta = call('HMGET', own[2], 'paused', 'fence')
local again = call('HEXISTS', own[6], token) == 1 or number <= (tonumber(call('HGET', own[1], 'lease')) or 0)
if again or meta[1] then return verb(own, ARGV) end
call('ZCARD', own[5])
call('HLEN', own[7])
local before, marker, due = 0, call('LLEN', own[8]), call('ZRANGE', own[9], 0, 0, 'WITHSCORES')[2] or ''
for list = 11, #own do
  local length = call('LLEN', own[list])
  before = before + length
  for _, id in ipairs(length > 0 and #waiting < limit and call('LRANGE', own[list], 0, limit - #waiting - 1) or {}) do
    waiting[#waiting + 1] = id
  end
end
local got, failure = { ids = {}, unread = 0 }, nil
if own[13] and #waiting < limit then got, failure = read(limit - #waiting, waiting) end
if failure then return failure end

local plain = before == 0 and #got.ids > 0
for _, record in ipairs(plain and call('HMGET', KEYS[8], unpack(got.ids)) or {}) do plain = plain and not record end
local bodies = plain and call('HMGET', KEYS[7], unpack(got.ids)) or {} -- not before it is known that they are needed
for _, body in ipairs(bodies) do plain = plain and body end
if plain then
  local time = call('TIME')
  local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
  local sets, wides, record, n = {}, {}, 'l\2\0\0\1\0\0\0' .. token, #got.ids
  local fence = math.max(tonumber(meta[2]) or 0, now * 1000)
  for i, id in ipairs(got.ids) do sets[2 * i - 1], sets[2 * i], wides[i] = id, record, wide(got.entries[i]) end
  local ids, first = table.concat(got.ids), string.format('%016.0f', fence + 1)
  call('HSET', own[1], 'lease', number)
  call('PEXPIRE', own[1], ARGV[7])
  if marker == 0 and got.unread > 0 then call('RPUSH', own[8], '1') end
  call('HSET', KEYS[8], unpack(sets))
  call('ZADD', own[5], now + ARGV[4], token)
  call('HSET', own[6], token, first .. ids)
  call('HSET', own[7], token, n)
  call('HSET', KEYS[2], token, table.concat(wides))
  call('HSET', own[2], 'fence', string.format('%.0f', fence + n))
  return { 0, now, due, first, ids, '', n, unpack(bodies) }
end
if own[13] then keep(own[13], got) end
for _, id in ipairs(got.ids) do waiting[#waiting + 1] = id end
local entries, leased, wides = #waiting > 0 and call('HMGET', KEYS[2], unpack(waiting)) or {}, {}, {}
local reply = verb(own, ARGV)
if reply.err then return reply end
local of, gone, drops = {}, {}, {}
for i, id in ipairs(waiting) do of[id] = entries[i] or NONE end
for at = 1, #reply[5], 16 do
  local id = sub(reply[5], at, at + 15)
  leased[id], gone[#gone + 1], wides[#wides + 1] = true, id, of[id] or NONE
end
if #gone > 0 then
  call('HDEL', KEYS[2], unpack(gone))
  call('HSET', KEYS[2], token, table.concat(wides))
end
for _, id in ipairs(#gone < #waiting and waiting or {}) do
  if not leased[id] and call('HEXISTS', KEYS[7], id) == 0 then drops[#drops + 1] = id end
end
settle(drops)
if own[13] and (#gone > 0 or #drops > 0 or got.moved) and call('LLEN', own[8]) == 0 then
  local tally = call('HMGET', KEYS[4], 'appended', 'read')
  local unread = (tonumber(tally[1]) or 0) - (tonumber(tally[2]) or 0)
  if unread > 0 or got.unread > 0 then call('RPUSH', own[8], '1') end
end
return reply
