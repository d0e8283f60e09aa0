-- Make the progress of a group in one partition durable, and with it all that the handled records caused.
-- KEYS  1 group  2 marks  3 state  4 out  5 dead  6 parked  7 tails  8 bodies  9 none
-- ARGV  1 now in ms, or '' for the server's time   2 epoch   3 nonce   4 number of this call, from 1   5 position until now
--       6 position from now   7 its number   8 its bytes   9 most dead letters   10 '1' if this may not pass on a full server
--       then steps of three, a letter and two values:
--       m offset mark: a record is in trouble   c offset '': no more   s field value, x field '': set or remove state
--       o head body: to the outbox, numbered by the first word of its head   d head body: a dead letter   h digest delay: that parked key is due in so many ms
--       t member body: a record waits behind its parked key   u member '': it is done   g digest '': no longer parked
--       l '' '': the owner leaves in order   p counter amount: count
-- Returns { code, epoch or position }: 0 done (a repeat too), 1 fenced: another owner or a seek (its epoch), 2 the position is
--       another one than the caller thinks (what it is)
-- Checked before the first write: types, epoch and nonce, number of the call, position.
local call = redis.call
for i, kind in ipairs({ 'hash', 'hash', 'hash', 'stream', 'stream', 'zset', 'zset', 'hash' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local stored = call('HMGET', KEYS[1], 'epoch', 'nonce', 'op', 'at', 'n', 'done')
if stored[1] ~= ARGV[2] or stored[2] ~= ARGV[3] then return { 1, stored[1] or '0' } end
if stored[3] == ARGV[4] then return { 0, stored[4] } end
if stored[4] ~= ARGV[5] or tonumber(ARGV[4]) < (tonumber(stored[3]) or 0) then return { 2, stored[4] or '' } end
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))

if ARGV[10] ~= '1' then call('DEL', KEYS[9]) end
local done = (tonumber(stored[6]) or 0) + math.max(ARGV[7] - (tonumber(stored[5]) or 0), 0)
call('HSET', KEYS[1], 'at', ARGV[6], 'n', ARGV[7], 'b', ARGV[8], 'op', ARGV[4], 'time', now, 'done', done)
local dead, changed = 0, false
for i = 11, #ARGV, 3 do
  local what, one, two = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if what == 'm' then
    call('HSET', KEYS[2], one, two)
  elseif what == 'c' then
    call('HDEL', KEYS[2], one)
  elseif what == 's' then
    call('HSET', KEYS[3], one, two)
    changed = true
  elseif what == 'x' then
    call('HDEL', KEYS[3], one)
    changed = true
  elseif what == 'o' then
    local number = call('HINCRBY', KEYS[1], 'to:' .. string.match(one, '^%S+'), 1)
    call('XADD', KEYS[4], '*', 'n', number, 'head', one, 'body', two)
  elseif what == 'd' then
    call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[9], '*', 'head', one, 'body', two)
    dead = dead + 1
  elseif what == 'h' then
    call('ZADD', KEYS[6], now + two, one)
  elseif what == 't' then
    call('ZADD', KEYS[7], 0, one)
    call('HSET', KEYS[8], one, two)
  elseif what == 'u' then
    call('ZREM', KEYS[7], one)
    call('HDEL', KEYS[8], one)
  elseif what == 'g' then
    call('ZREM', KEYS[6], one)
  elseif what == 'l' then
    call('HSET', KEYS[1], 'owner', '')
  elseif what == 'p' then
    call('HINCRBY', KEYS[1], one, two)
  end
end
if dead > 0 then call('HINCRBY', KEYS[1], 'dead', dead) end
if changed then call('HINCRBY', KEYS[1], 'version', 1) end
return { 0, ARGV[6] }
