-- Keep a member of an ordered group alive, share out the partitions, and answer which of them are its own.
-- KEYS  1 members  2 info  3 owners  4 target  5 state  6 none
-- ARGV  1 now in ms, or '' for the server's time   2 member   3 nonce of its start (16 hex digits)
--       4 what it does: 'join', 'beat' or 'leave'   5 session in ms   6 partitions of the topic as it knows them
--       7 '1' if one member takes all   8 the partitions that it holds, like ',0,4,'   9 an epoch that grants must pass, or 0
--       10 what it says of itself   11 most members
-- Returns { code, now, epoch, moves, partitions, members, owned, leaving, waiting }: code 0 a member, 1 not one (any more),
--       2 another start has its name, 3 the group is full. owned: '4:17,' partition and epoch of its grant; leaving: '4,'
--       owned, but to be given up; waiting: '4,' its share, still owned by another
-- Checked before the first write: types, the nonce, room. The first write frees memory.
local call, match, sub = redis.call, string.match, string.sub
for i, kind in ipairs({ 'zset', 'hash', 'hash', 'hash', 'hash' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local me, nonce, what, session = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local state = call('HMGET', KEYS[5], 'epoch', 'partitions', 'single', 'graced', 'moves')
local epoch, count, moves = tonumber(state[1]) or 0, math.max(tonumber(state[2]) or 0, ARGV[6]), tonumber(state[5]) or 0
local deadline, said = tonumber(call('ZSCORE', KEYS[1], me) or nil), call('HGET', KEYS[2], me)
local known = said and sub(said, 1, 16) == nonce
local size = call('ZCARD', KEYS[1])
local function refuse(code) return { code, now, epoch, moves, count, size, '', '', '' } end
if what ~= 'join' and not known then return refuse(said and 2 or 1) end
local lapsed = call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'LIMIT', 0, 250)
if not deadline and size - #lapsed >= tonumber(ARGV[11]) then return refuse(3) end

-- A caller that is late itself cannot tell who is dead: once in four sessions it gives the others half a session more.
call('DEL', KEYS[6])
local gone, changed = {}, not deadline or tonumber(state[2]) ~= count or (state[3] or '') ~= ARGV[7]
local late = known and deadline and now > deadline - session / 2 and now - (tonumber(state[4]) or 0) > 4 * session
if late and #lapsed > 0 then call('HSET', KEYS[5], 'graced', now) end
for _, name in ipairs(lapsed) do
  if late then call('ZADD', KEYS[1], now + math.floor(session / 2), name) end
  if not late and name ~= me then gone[name] = true end
end
if what == 'leave' then gone[me] = true else call('ZADD', KEYS[1], now + session, me) end
if what == 'join' then call('HSET', KEYS[2], me, nonce .. ARGV[10]) end
for name in pairs(gone) do
  changed = true
  call('ZREM', KEYS[1], name)
  call('HDEL', KEYS[2], name)
end

local function table_of(key)
  local flat, found = call('HGETALL', key), {}
  for i = 1, #flat, 2 do found[tonumber(flat[i])] = flat[i + 1] end
  return found
end
local owners, target, members = table_of(KEYS[3]), table_of(KEYS[4]), call('ZRANGE', KEYS[1], 0, -1)
for p, owner in pairs(owners) do
  local of, name = match(owner, '^%d+:(%x+):(.*)$')
  if gone[name] or (name == me and (of ~= nonce or not string.find(ARGV[8], ',' .. p .. ',', 1, true))) then
    owners[p] = nil
    call('HDEL', KEYS[3], p)
  end
end
if changed then
  local fresh = share(target, members, count, ARGV[7] == '1')
  epoch = epoch + 1
  for p in pairs(target) do
    if not fresh[p] then call('HDEL', KEYS[4], p) end
  end
  for p, name in pairs(fresh) do
    if target[p] ~= name then call('HSET', KEYS[4], p, name) end
  end
  target = fresh
end

local owned, leaving, waiting, granted, below = {}, {}, {}, false, tonumber(ARGV[9])
for p = 0, count - 1 do
  local at, of, name = match(owners[p] or '', '^(%d+):(%x+):(.*)$')
  if target[p] == me and not at then
    if not granted then epoch, granted = math.max(epoch, below) + 1, true end
    at, of, name = epoch, nonce, me
    call('HSET', KEYS[3], p, epoch .. ':' .. nonce .. ':' .. me)
  end
  if name == me and target[p] == me then
    owned[#owned + 1] = p .. ':' .. at .. ','
  elseif name == me then
    leaving[#leaving + 1] = p .. ','
  elseif target[p] == me then
    waiting[#waiting + 1] = p .. ','
  end
end
if changed or granted then call('HSET', KEYS[5], 'epoch', epoch, 'partitions', count, 'single', ARGV[7]) end
return { 0, now, epoch, moves, count, #members, table.concat(owned), table.concat(leaving), table.concat(waiting) }
