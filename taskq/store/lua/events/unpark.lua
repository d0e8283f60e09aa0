-- Forget of the parked records what comes again from the log, since a seek has put the group before it.
-- KEYS  1 group  2 parked  3 tails  4 bodies  5 none
-- ARGV  1 what the call before answered first, '' at the beginning   2 what it answered second
-- Returns { which seek this is about, the last of the tails that were looked at }; the second is '' when nothing is left
-- Checked before the first write: types, and whether a seek has left something to do. The first write frees memory. It
-- begins anew if there was another seek since the call before. A repeat finds nothing to forget.
local call = redis.call
for i, kind in ipairs({ 'hash', 'zset', 'zset', 'hash' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local void = call('HGET', KEYS[1], 'void')
if not void then return { '', '' } end
local from = void == ARGV[1] and '(' .. ARGV[2] or '-'
local page, last, digests = call('ZRANGEBYLEX', KEYS[3], from, '+', 'LIMIT', 0, 250), tonumber(string.match(void, '^%d+')), {}
call('DEL', KEYS[5])
for _, member in ipairs(page) do
  local digest, number = string.match(member, '^(.*):(%d+)$')
  digests[digest] = true
  if tonumber(number) > last then
    call('ZREM', KEYS[3], member)
    call('HDEL', KEYS[4], member)
  end
end
for digest in pairs(digests) do
  local left = call('ZRANGEBYLEX', KEYS[3], '[' .. digest .. ':', '(' .. digest .. ';', 'LIMIT', 0, 1)
  if #left == 0 then call('ZREM', KEYS[2], digest) end
end
if #page == 250 then return { void, page[250] } end
call('HDEL', KEYS[1], 'void')
return { void, '' }
