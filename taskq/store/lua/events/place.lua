-- Put the position of a group in one partition: where it begins, by a seek, or out of a gap.
-- KEYS  1 group  2 log  3 meta  4 marks  5 none
-- ARGV  1 how: 'begin' if there is no position yet, 'owner' by the owner, 'force' by anybody   2 epoch, 3 nonce of the owner
--       4 where: 'start' before the first record, 'end' behind the last, or the id of an entry: the next record is the first
--       from that entry on   5 item in that entry, '' for none   6 a word that tells this call from others
--       7 counter that goes up, or ''   8 by how much
-- Returns { code, epoch, position, number, bytes }: 0 put (a repeat too), 1 fenced (epoch), 2 there is a position already
-- Checked before the first write: types, epoch and nonce. The first write frees memory. All but 'begin' raise the epoch: what
-- is in hand cannot commit any more. Without a counter it is a seek: then `void` says up to which number parked records stay
-- parked; those behind come again from the log, so unpark forgets them before the next owner goes on.
local call = redis.call
for i, kind in ipairs({ 'hash', 'stream', 'hash', 'hash' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local how, where, item = ARGV[1], ARGV[4], tonumber(ARGV[5]) or 0
local stored = call('HMGET', KEYS[1], 'epoch', 'nonce', 'at', 'n', 'b', 'word', 'void')
local epoch = tonumber(stored[1]) or 0
local function answer(code) return { code, epoch, stored[3] or '', tonumber(stored[4]) or 0, tonumber(stored[5]) or 0 } end
if stored[6] == ARGV[6] then return answer(0) end
if how == 'begin' and stored[3] then return answer(2) end
if how == 'owner' and (stored[1] ~= ARGV[2] or stored[2] ~= ARGV[3]) then return answer(1) end

local meta = call('HMGET', KEYS[3], 'n', 'b', 'gone', 'gone_b', 'gone_id')
local at, n, b = meta[5] or '0-0', tonumber(meta[3]) or 0, tonumber(meta[4]) or 0
local function count(entry)
  local number, bytes = string.match(entry[2][1] == 'n' and entry[2][2] or '', '^(%d+),(%d+)$')
  at, n, b = entry[1], tonumber(number) or n, tonumber(bytes) or b
  if entry[2][3] == 'c' and tonumber(entry[2][4]) > 1 then at = at .. ':' .. (entry[2][4] - 1) end -- all of a packed one
end
local before = where ~= 'start' and call('XREVRANGE', KEYS[2], where == 'end' and '+' or '(' .. where, '-', 'COUNT', 1)[1]
if before then count(before) end
if where == 'end' then
  local info = call('EXISTS', KEYS[2]) == 1 and call('XINFO', 'STREAM', KEYS[2]) or {}
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' and not (before and before[1] == info[i + 1]) then at = info[i + 1] end
  end
  n, b = tonumber(meta[1]) or n, tonumber(meta[2]) or b
elseif item > 0 then
  at, n = where .. (item > 1 and ':' .. (item - 1) or ''), n + item
end
call('DEL', KEYS[5])
if how ~= 'begin' then
  epoch = epoch + 1
  local void = tonumber(string.match(stored[7] or '', '^%d+')) or math.huge
  if ARGV[7] == '' then call('HSET', KEYS[1], 'void', string.format('%.0f ', math.min(void, n)) .. ARGV[6]) end
  call('DEL', KEYS[4])
end
call('HSET', KEYS[1], 'epoch', epoch, 'at', at, 'n', n, 'b', b, 'word', ARGV[6], 'op', 0)
if how == 'force' then call('HSET', KEYS[1], 'nonce', '', 'owner', '') end
if ARGV[7] ~= '' then call('HINCRBY', KEYS[1], ARGV[7], ARGV[8]) end
return { 0, epoch, at, n, b }
