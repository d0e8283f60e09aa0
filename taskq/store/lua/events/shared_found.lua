-- See that a shared group is there on one partition, make it anew where somebody removed it, or move it.
-- KEYS  as parts/shared.lua says
-- ARGV  1 group  2 now in ms or ''  3 where a new one begins: earliest, latest, or the id behind which it begins
--       4 '' to leave alone what is there, else a nonce: the group is moved to 3, once for each nonce
-- Returns { epoch, healed, cut }: the native group is `name:epoch`; healed is 1 if it had been there and was gone,
--       cut is 1 if the log ends before the position of the group, which begins at its end then
-- Each time that it is made the epoch grows, so nothing that was read before can be settled after a move. A group that
-- was removed goes on from its position, and what waited for another try is read again.
-- Checked before the first write: types. The first write frees memory.
local kept = call('HMGET', KEYS[2], 'epoch', 'at', 'lost', 'moved_by')
local epoch, position, moves = tonumber(kept[1]) or 0, kept[2], ARGV[4] ~= ''
local there = epoch > 0 and not redis.pcall('XPENDING', KEYS[1], ARGV[1] .. ':' .. epoch).err
if there and (not moves or kept[4] == ARGV[4]) then return { epoch, 0, 0 } end

local last = call('HGET', KEYS[8], 'id') or '0-0'
if call('EXISTS', KEYS[1]) == 1 then
  local info = call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' and later(info[i + 1], last) then last = info[i + 1] end
  end
end
local where, cut = ARGV[3], 0
if position and not moves then
  where = position
  if later(where, last) then where, cut = last, 1 end
end
if where == 'earliest' then where = '0-0' elseif where == 'latest' then where = last end
local number = numbers(call('XRANGE', KEYS[1], '(' .. where, '+', 'COUNT', 1)[1])
local from = number and number - 1 or tonumber(call('HGET', KEYS[8], 'n')) or 0

call('DEL', KEYS[7])
if there then call('XGROUP', 'DESTROY', KEYS[1], ARGV[1] .. ':' .. epoch) end
call('UNLINK', KEYS[3], KEYS[4])
if moves then call('UNLINK', KEYS[5]) end
call('XGROUP', 'CREATE', KEYS[1], ARGV[1] .. ':' .. epoch + 1, where, 'MKSTREAM')
call('HSET', KEYS[2], 'kind', 'shared', 'epoch', epoch + 1, 'at', where, 'n', from, 'from', from, 'done', 0)
call('HSET', KEYS[2], 'lost_before', kept[3] or 0)
if moves then call('HSET', KEYS[2], 'moved_by', ARGV[4]) end
local healed = epoch > 0 and not moves and 1 or 0
if healed == 1 then call('HINCRBY', KEYS[2], 'healed', 1) end
if cut == 1 then call('HINCRBY', KEYS[2], 'cut', 1) end
return { epoch + 1, healed, cut }
