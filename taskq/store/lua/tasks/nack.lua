-- Put messages held under their tokens back, to run again at once or later.
-- KEYS  1 worker  2 meta  3 state  4 leases  5 held  6 left  7 delayed  8 wake  9 errors  10 none
--       11-15 ready lists, priority 2 to -2  16 stats  17 recent
-- ARGV  1 now in ms or ''  2 call number, or '' if it is not to be remembered  3 worker key ttl in ms
--       4 byte limit of a message's error lines
--       then per message: token, id, delay in ms, 1 if it counts as an attempt else 0, error line ('' none), the fields of
--       stats that it adds one to, a line each
-- Returns { code, now, lost }: code 0 stored (a repeat gets the old answer), 3 refused (an older call);
--       lost: ids whose token is not current (concatenated); nothing was written for them
-- The run came to its end, so the count of crashes starts anew. A message with a cancel request goes back to ready at
-- once with its flag, for the next holder to settle as cancelled.
-- Checked before the first write: call number, types, tokens. The first write frees memory.
local call, sub, byte, char = redis.call, string.sub, string.byte, string.char
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local number = tonumber(ARGV[2])
if number then
  local memory = call('HMGET', KEYS[1], 'nack', 'nacked')
  local last = tonumber(memory[1]) or 0
  if number == last then return { 0, now, memory[2] } end
  if number < last then return { 3, now, '' } end
end
local kinds = { 'hash', 'hash', 'hash', 'zset', 'hash', 'hash', 'zset', 'list', 'hash', 'none', 'list', 'list', 'list', 'list', 'list', 'hash', 'list' }
for i, kind in ipairs(kinds) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end

local held, lost, seen, ring, failed, stats, recent = {}, {}, {}, false, 0, {}, {}
for at = 5, #ARGV, 6 do
  local id = ARGV[at + 1]
  local record = call('HGET', KEYS[3], id)
  if record and not seen[id] and byte(record) == 108 and sub(record, 9, 28) == ARGV[at] then
    held[#held + 1], seen[id] = { at, id, record }, true
  else
    lost[#lost + 1] = id
  end
end
local earliest = tonumber(call('ZRANGE', KEYS[7], 0, 0, 'WITHSCORES')[2]) or math.huge
call('DEL', KEYS[10])
for _, item in ipairs(held) do
  local at, id, record = item[1], item[2], item[3]
  local token, delay = ARGV[at], tonumber(ARGV[at + 2])
  local prio, flags, high, low, _, big, small = byte(record, 2, 8)
  if call('HINCRBY', KEYS[6], token, -1) <= 0 then
    call('HDEL', KEYS[6], token)
    call('HDEL', KEYS[5], token)
    call('ZREM', KEYS[4], token)
  end
  local attempts = math.min(big * 256 + small + ARGV[at + 3], 65535)
  local later = delay > 0 and bit.band(flags, 1) == 0
  local kept = char(prio, bit.band(flags, 121), high, low, 0, math.floor(attempts / 256), attempts % 256)
  call('HSET', KEYS[3], id, (later and 'd' or 'r') .. kept .. sub(record, 29))
  if later then call('ZADD', KEYS[7], now + delay, id) else call('RPUSH', KEYS[11 + prio], id) end
  ring = ring or not later or now + delay < earliest
  if ARGV[at + 4] ~= '' then
    local lines = call('HGET', KEYS[9], id)
    lines = (lines and lines .. '\n' or '') .. ARGV[at + 4]
    if #lines > tonumber(ARGV[4]) then lines = string.gsub(sub(lines, -ARGV[4]), '^[^\n]*\n', '') end
    call('HSET', KEYS[9], id, lines)
  end
  for field in string.gmatch(ARGV[at + 5], '[^\n]+') do stats[field] = (stats[field] or 0) + 1 end
  if ARGV[at + 3] == '1' then
    failed = failed + 1
    if ARGV[at + 4] ~= '' then recent[#recent + 1] = 'r' .. id .. string.format('%013.0f', now) .. sub(ARGV[at + 4], 1, 600) end
  end
end
if #held > 0 then call('HINCRBY', KEYS[2], 'retried', #held) end
if failed > 0 then call('HINCRBY', KEYS[2], 'failed', failed) end
for field, n in pairs(stats) do call('HINCRBY', KEYS[16], field, n) end
if #recent > 0 then call('LPUSH', KEYS[17], unpack(recent)) call('LTRIM', KEYS[17], 0, 49) end
if ring and call('LLEN', KEYS[8]) == 0 then call('RPUSH', KEYS[8], '1') end
local answer = table.concat(lost)
if number then
  call('HSET', KEYS[1], 'nack', number, 'nacked', answer)
  call('PEXPIRE', KEYS[1], ARGV[3])
end
return { 0, now, answer }
