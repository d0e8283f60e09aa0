-- Store a schedule's entry, or change it, if it is as the caller knows it.
-- KEYS  1 schedules  2 the entry  3 none
-- ARGV  1 now in ms or ''  2 name  3 revision that the caller knows, or '' if there must be no entry  4 nonce of this
--       call  5 slot in ms, 'none' for no slot, or '' to leave it  6 '1' if it is not to be fired meanwhile, else ''
--       7.. fields and their values; the value '' removes the field
-- Returns { code, now, revision, slot }, the last two as they are now: 0 stored, 2 not as the caller knows it
-- A repeat, told by its nonce, changes nothing. Revisions only grow, also over an entry that was removed and made anew.
-- Checked before the first write: types, revision. The first write to an entry that is there frees memory.
local call = redis.call
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
for i, kind in ipairs({ 'zset', 'hash', 'none' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local entry = call('HMGET', KEYS[2], 'rev', 'slot', 'put')
local rev, slot = entry[1] or '', entry[2] or ''
if entry[3] == ARGV[4] then return { 0, now, rev, slot } end
if rev ~= ARGV[3] then return { 2, now, rev, slot } end
if rev ~= '' then call('DEL', KEYS[3]) end
rev = string.format('%.0f', math.max((tonumber(rev) or 0) + 1, rev == '' and now * 1000 or 0))
call('HSET', KEYS[2], 'rev', rev, 'put', ARGV[4])
for i = 7, #ARGV, 2 do
  if ARGV[i + 1] == '' then call('HDEL', KEYS[2], ARGV[i]) else call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
end
if ARGV[5] ~= '' then
  slot = ARGV[5] == 'none' and '' or ARGV[5]
  call('HSET', KEYS[2], 'slot', slot, 'at', now)
end
call('ZADD', KEYS[1], (slot == '' or ARGV[6] == '1') and '+inf' or slot, ARGV[2])
return { 0, now, rev, slot }
