-- Keep messages that are held under their tokens as dead letters, or in quarantine.
-- KEYS  1 worker  2 meta  3 body  4 state  5 leases  6 held  7 left  8 results  9 results:due  10 errors  11 unique
--       12 tombs  13 cancels  14 dead  15 quarantine  16 none  17 stats  18 recent
-- ARGV  1 now in ms or ''  2 call number, or '' if it is not to be remembered  3 worker key ttl in ms
--       4 tombstone window in ms  5 cap of results  6 channel that is told the ids that have a result  7 cap of dead letters
--       8 byte limit of a message's error lines  9 byte limit of the bodies that the cap pushes out
--       then per message: kind (x dead by a failed attempt, k dead but by none, q quarantined), token, id, error line,
--       result ('' none), its ttl in ms, the fields of stats that it adds one to, a line each
-- Returns { code, now, lost, dropped }: code 0 stored (a repeat gets the old answer), 3 refused (an older call);
--       lost: ids whose token is not current (concatenated); dropped: how many old dead letters the cap pushed out
-- Checked before the first write: call number, types, tokens. The first write frees memory.
local call, sub, byte = redis.call, string.sub, string.byte
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local number = tonumber(ARGV[2])
if number then
  local memory = call('HMGET', KEYS[1], 'bury', 'buried')
  local last = tonumber(memory[1]) or 0
  if number == last then return { 0, now, memory[2], 0 } end
  if number < last then return { 3, now, '', 0 } end
end
local kinds = { 'hash', 'hash', 'hash', 'hash', 'zset', 'hash', 'hash', 'hash', 'zset', 'hash', 'hash', 'zset', 'hash', 'zset', 'zset', 'none', 'hash', 'list' }
for i, kind in ipairs(kinds) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end

local held, lost, seen = {}, {}, {}
for at = 10, #ARGV, 7 do
  local id = ARGV[at + 2]
  local record = call('HGET', KEYS[4], id)
  if record and not seen[id] and byte(record) == 108 and sub(record, 9, 28) == ARGV[at + 1] then
    held[#held + 1], seen[id] = { at, id, record }, true
  else
    lost[#lost + 1] = id
  end
end
call('DEL', KEYS[16])
local told, dropped, bytes, recent = {}, 0, 0, {}
for _, item in ipairs(held) do
  local at, id, record, flags = item[1], item[2], item[3], byte(item[3], 3)
  local dead, token, digest = ARGV[at] ~= 'q', ARGV[at + 1], sub(record, 29, 44)
  if call('HINCRBY', KEYS[7], token, -1) <= 0 then
    call('HDEL', KEYS[7], token)
    call('HDEL', KEYS[6], token)
    call('ZREM', KEYS[5], token)
  end
  if bit.band(flags, 1) > 0 then call('HDEL', KEYS[13], id) end
  if bit.band(flags, 8) > 0 then call('ZADD', KEYS[12], now + ARGV[4], id) end
  if bit.band(flags, 16) > 0 and call('HGET', KEYS[11], digest) == id then call('HDEL', KEYS[11], digest) end
  call('HSET', KEYS[4], id, (dead and 'x' or 'q') .. sub(record, 2, 2) .. string.char(bit.band(flags, 72)) .. sub(record, 4, 8))
  call('ZADD', KEYS[dead and 14 or 15], now, id)
  local lines = call('HGET', KEYS[10], id)
  lines = (lines and lines .. '\n' or '') .. ARGV[at + 3]
  if #lines > tonumber(ARGV[8]) then lines = string.gsub(sub(lines, -ARGV[8]), '^[^\n]*\n', '') end
  call('HSET', KEYS[10], id, lines)
  if ARGV[at + 4] ~= '' and tonumber(ARGV[at + 5]) > 0 then
    call('HSET', KEYS[8], id, ARGV[at + 4])
    call('ZADD', KEYS[9], now + ARGV[at + 5], id)
    told[#told + 1] = id
  end
  call('HINCRBY', KEYS[2], dead and 'dead' or 'quarantined', 1)
  if ARGV[at] == 'x' then call('HINCRBY', KEYS[2], 'failed', 1) end
  for field in string.gmatch(ARGV[at + 6], '[^\n]+') do call('HINCRBY', KEYS[17], field, 1) end
  recent[#recent + 1] = (dead and 'x' or 'q') .. id .. string.format('%013.0f', now) .. sub(ARGV[at + 3], 1, 600)
end
if #recent > 0 then call('LPUSH', KEYS[18], unpack(recent)) call('LTRIM', KEYS[18], 0, 49) end
for i = 14, 15 do
  local over = call('ZCARD', KEYS[i]) - ARGV[7]
  for j, id in ipairs(over > 0 and call('ZRANGE', KEYS[i], 0, math.min(over, 250) - 1) or {}) do
    -- large bodies take time to be freed; but as many go as came
    bytes = bytes + call('HSTRLEN', KEYS[3], id)
    if bytes > tonumber(ARGV[9]) and j > #held then break end
    call('ZREM', KEYS[i], id)
    for key = 3, 4 do call('HDEL', KEYS[key], id) end
    call('HDEL', KEYS[10], id)
    dropped = dropped + 1
  end
end
if dropped > 0 then call('HINCRBY', KEYS[2], 'dead_dropped', dropped) end
local over = call('ZCARD', KEYS[9]) - ARGV[5]
local old = over > 0 and call('ZPOPMIN', KEYS[9], math.min(over, 500)) or {}
for i = 1, #old, 2 do call('HDEL', KEYS[8], old[i]) end
if #told > 0 then call('PUBLISH', ARGV[6], table.concat(told)) end
local answer = table.concat(lost)
if number then
  call('HSET', KEYS[1], 'bury', number, 'buried', answer)
  call('PEXPIRE', KEYS[1], ARGV[3])
end
return { 0, now, answer, dropped }
