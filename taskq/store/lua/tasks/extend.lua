-- Push the deadlines of tokens that are still held, mark messages as started, and tell what was lost or cancelled.
-- KEYS  1 state  2 leases  3 cancels  4 none
-- ARGV  1 now in ms or ''  2 lease in ms  3 number of tokens  then the tokens, then per mark: token, id, flags
--       (2 started, 6 started and never to be run twice)
-- Returns { now, lost tokens, cancelled ids, refused ids } (each concatenated; a cancelled id is followed by 'k' if its
--       child may be ended, else '-'). A token past its deadline that was not
--       swept yet is still held. A repeat gives the same state.
-- Of more than 500 cancel requests it looks at 500 drawn at random: repeated, it meets them all.
-- Checked before the first write: types. The first write frees memory.
local call, sub, byte = redis.call, string.sub, string.byte
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
for i, kind in ipairs({ 'hash', 'zset', 'hash', 'none' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
call('DEL', KEYS[4])
local tokens, lost, refused, cancelled = {}, {}, {}, {}
local last = 3 + ARGV[3]
for i = 4, last do
  if call('ZSCORE', KEYS[2], ARGV[i]) then
    call('ZADD', KEYS[2], 'XX', now + ARGV[2], ARGV[i])
    tokens[ARGV[i]] = true
  else
    lost[#lost + 1] = ARGV[i]
  end
end
for i = last + 1, #ARGV, 3 do
  local token, id = ARGV[i], ARGV[i + 1]
  local record = call('HGET', KEYS[1], id)
  if record and byte(record) == 108 and sub(record, 9, 28) == token then
    local flags = bit.bor(byte(record, 3), ARGV[i + 2])
    call('HSET', KEYS[1], id, sub(record, 1, 2) .. string.char(flags) .. sub(record, 4))
  else
    refused[#refused + 1] = id
  end
end
local requests = call('HLEN', KEYS[3])
if requests > 0 then
  local pairs = requests <= 500 and call('HGETALL', KEYS[3]) or call('HRANDFIELD', KEYS[3], 500, 'WITHVALUES')
  for i = 1, #pairs, 2 do
    local holder = pairs[i + 1]
    if tokens[sub(holder, 1, 20)] then cancelled[#cancelled + 1] = pairs[i] .. (#holder > 20 and 'k' or '-') end
  end
end
return { now, table.concat(lost), table.concat(cancelled), table.concat(refused) }
