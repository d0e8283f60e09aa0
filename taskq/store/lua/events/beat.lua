-- Keep a member of an ordered group alive, share out the partitions, and answer which of them are its own.
-- KEYS  1 members  2 info  3 owners  4 target  5 state  6 sessions  7 bell  8 none
-- ARGV  1 now in ms, or '' for the server's time   2 member   3 nonce of its start (16 hex digits)
--       4 what it does: 'join', 'beat', 'drain' or 'leave'   5 session in ms   6 partitions of the topic as it knows them
--       7 '1' if one member takes all   8 the partitions that it holds, like ',0,4,'   9 an epoch that grants must pass, or 0
--       10 what it says of itself   11 most members
-- Returns { code, now, epoch, moves, partitions, members, owned, leaving, waiting, lapse }: code 0 a member, 1 not one (any
--       more), 2 another start has its name, 3 the group is full. owned: '4:17,' partition and epoch of its grant; leaving:
--       '4,' owned, but to be given up; waiting: '4,' its share, owned by another; lapse: another's first end, or 0
-- Checked before the first write: types, the nonce, room. The first write frees memory.
local call, match, sub = redis.call, string.match, string.sub
for i, kind in ipairs({ 'zset', 'hash', 'hash', 'hash', 'hash', 'hash', 'stream' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local me, nonce, what, session, single = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[7] == '1'
local state = call('HMGET', KEYS[5], 'epoch', 'partitions', 'single', 'graced', 'moves')
local epoch, count, moves = tonumber(state[1]) or 0, math.max(tonumber(state[2]) or 0, ARGV[6]), tonumber(state[5]) or 0
local deadline, said = tonumber(call('ZSCORE', KEYS[1], me) or nil), call('HGET', KEYS[2], me)
local known = said and sub(said, 1, 16) == nonce
local size = call('ZCARD', KEYS[1])
local function refuse(code) return { code, now, epoch, moves, count, size, '', '', '', 0 } end
if what ~= 'join' and not known then return refuse(said and 2 or 1) end
local lapsed = call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'LIMIT', 0, 250)
if not deadline and size - #lapsed >= tonumber(ARGV[11]) then return refuse(3) end

call('DEL', KEYS[8])
local sessions, closing = table_of(KEYS[6], tostring), what == 'drain' and '-' or ''
local silent, outage, ends = heard(KEYS[1], me, now, session, sessions)
local back = known and deadline and now > deadline - session / 2 -- silent for half a session itself
local gone, changed = what == 'leave' and { [me] = true } or {}, not deadline or tonumber(state[2]) ~= count
changed = changed or (state[3] or '') ~= ARGV[7] or (sub(sessions[me] or '', 1, 1) == '-') ~= (what == 'drain')
-- If nobody else was heard of lately either, nobody can tell who is dead: once in four sessions all get half a session.
if back and outage and now - (tonumber(state[4]) or 0) > 4 * session then
  call('HSET', KEYS[5], 'graced', now)
  spare(KEYS[1], ends, now + math.floor(session / 2))
end
for _, name in ipairs(lapsed) do
  if name ~= me and ends[name] < now then gone[name] = true end
end
if what ~= 'leave' then
  sessions[me] = closing .. session
  call('ZADD', KEYS[1], now + session, me)
  call('HSET', KEYS[6], me, sessions[me])
end
if what == 'join' then call('HSET', KEYS[2], me, nonce .. ARGV[10]) end
for name in pairs(gone) do
  changed, ends[name] = true, nil
  call('ZREM', KEYS[1], name)
  for _, key in ipairs({ KEYS[2], KEYS[6] }) do call('HDEL', key, name) end
end

local owners, target, names, lapse = table_of(KEYS[3], tonumber), table_of(KEYS[4], tonumber), {}, 0
for p, owner in pairs(owners) do
  local of, name = match(owner, '^%d+:(%x+):(.*)$')
  if gone[name] or (name == me and (of ~= nonce or not string.find(ARGV[8], ',' .. p .. ',', 1, true))) then
    owners[p] = nil
    call('HDEL', KEYS[3], p)
  end
end
local members = call('ZRANGE', KEYS[1], 0, -1)
for _, name in ipairs(members) do
  if sub(sessions[name] or '', 1, 1) ~= '-' then names[#names + 1] = name end
  if ends[name] and (lapse == 0 or ends[name] < lapse) then lapse = ends[name] end
end
if what ~= 'leave' and closing == '' then
  changed = uneven(target, owners, silent, me, back and not single and count / #names or 0) or changed
end
if changed then
  epoch = epoch + 1
  target = settle(KEYS[4], target, share(target, names, count, single, silent), next(ends) and KEYS[7])
end
if #members == 0 then call('DEL', KEYS[7]) end

local owned, leaving, waiting, granted, below = {}, {}, {}, false, tonumber(ARGV[9])
for p = 0, count - 1 do
  local at, of, name = match(owners[p] or '', '^(%d+):(%x+):(.*)$')
  if target[p] == me and not at then
    if not granted then epoch, granted = math.max(epoch, below) + 1, true end
    at, of, name = epoch, nonce, me
    call('HSET', KEYS[3], p, epoch .. ':' .. nonce .. ':' .. me)
  end
  local list = name == me and (target[p] == me and owned or leaving) or target[p] == me and waiting
  if list then list[#list + 1] = list == owned and p .. ':' .. at .. ',' or p .. ',' end
end
if changed or granted then call('HSET', KEYS[5], 'epoch', epoch, 'partitions', count, 'single', ARGV[7]) end
owned, leaving, waiting = table.concat(owned), table.concat(leaving), table.concat(waiting)
return { 0, now, epoch, moves, count, #members, owned, leaving, waiting, lapse }
