-- Decide one slot of a schedule once: advance the entry, and accept the message of that slot.
-- KEYS  1 schedules  2 the entry  3 meta  4 body  5 state  6 delayed  7 tombs  8 wake  9-13 ready lists, 2 to -2
-- ARGV  1 now in ms or ''  2 name  3 revision that the caller knows  4 slot that is decided, or '' for a run by hand
--       5 the slot after it, or ''  6 '1' if nothing is enqueued while the entry's last message is alive  7 tombstone
--       window in ms  8 id  9 body, or '' if this slot is given up  10 byte priority index, byte flags, double due
--       (0 at once, negative: that many ms from now), double expires (0 none, negative likewise)
-- Returns { code, now, revision, slot }, the last two as they are now: 0 enqueued, 1 skipped for the last message,
--       2 not as the caller knows it, so nothing was done, 3 not due yet, 4 that id was there already, 5 given up,
--       6 this is a stream queue, whose own script does this (there all ready lists are one key), so nothing was done
-- Checked before the first write: types, revision, the server's time. The first write is refused by a full server, as
-- that of an enqueue; the slot then stays.
local call, byte = redis.call, string.byte
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local kinds = { 'zset', 'hash', 'hash', 'hash', 'hash', 'zset', 'zset' }
for i, key in ipairs(KEYS) do
  local found = call('TYPE', key).ok
  if found ~= (kinds[i] or 'list') and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found)
  end
end
local entry = call('HMGET', KEYS[2], 'rev', 'slot', 'message')
local rev, slot, last = entry[1] or '', entry[2] or '', entry[3]
if rev == '' or rev ~= ARGV[3] then return { 2, now, rev, slot } end
if KEYS[9] ~= KEYS[10] and call('HGET', KEYS[3], 'transport') then return { 6, now, rev, slot } end
local by_hand = ARGV[4] == ''
if not by_hand and (tonumber(slot) or math.huge) > now then return { 3, now, rev, slot } end

local function record(id) return call('HGET', KEYS[5], id) or false end
local function alive(id)
  local found = record(id)
  return call('HEXISTS', KEYS[4], id) == 1 and not (found and (byte(found) == 120 or byte(found) == 113))
end
local id, code = ARGV[8], 0
if ARGV[9] == '' then
  code = 5
elseif call('HEXISTS', KEYS[4], id) == 1 or record(id) or (tonumber(call('ZSCORE', KEYS[7], id)) or 0) > now then
  code = 4
elseif ARGV[6] == '1' and last and alive(last) then
  code = 1
end
if code == 0 then
  local prio, flags, due, expires = struct.unpack('>BBdd', ARGV[10])
  if due < 0 then due = now - due end
  if expires < 0 then expires = now - expires end
  local later = due > now
  local earliest = tonumber(call('ZRANGE', KEYS[6], 0, 0, 'WITHSCORES')[2]) or math.huge
  call('HSET', KEYS[4], id, ARGV[9])
  local rest = expires > 0 and struct.pack('>d', expires) or ''
  call('HSET', KEYS[5], id, string.char(later and 100 or 114, prio, flags, 0, 0, 0, 0, 0) .. rest)
  call('ZADD', KEYS[7], now + ARGV[7], id)
  if later then call('ZADD', KEYS[6], due, id) else call('RPUSH', KEYS[9 + prio], id) end
  call('HINCRBY', KEYS[3], 'enqueued', 1)
  if (not later or due < earliest) and call('LLEN', KEYS[8]) == 0 then call('RPUSH', KEYS[8], '1') end
  call('HSET', KEYS[2], 'message', id)
end
rev = string.format('%.0f', rev + 1)
call('HSET', KEYS[2], 'rev', rev)
if code == 0 or code == 4 then call('HINCRBY', KEYS[2], 'runs', 1) end
if code == 1 then call('HINCRBY', KEYS[2], 'skips', 1) end
if not by_hand then
  slot = ARGV[5]
  call('HSET', KEYS[2], 'slot', slot, 'last', ARGV[4], 'at', now)
  call('ZADD', KEYS[1], slot == '' and '+inf' or slot, ARGV[2])
end
return { code, now, rev, slot }
