-- Begin a pass of compaction over a partition; a pass that was begun before is over, wherever it stood.
-- KEYS  1 log  2 meta  3 fresh
-- ARGV  1 nonce of the pass
-- Returns { code, last id }: 0 begun, 1 the log has native groups, which a swap would not keep, 2 there is no log
-- Checked before the first write: types, groups. The first write frees. A repeat changes nothing.
local call = redis.call
for i, right in ipairs({ 'stream', 'hash', 'stream' }) do
  local kind = call('TYPE', KEYS[i]).ok
  if kind ~= right and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. kind) end
end
if call('EXISTS', KEYS[1]) == 0 then return { 2, '' } end
if #call('XINFO', 'GROUPS', KEYS[1]) > 0 then return { 1, '' } end
local info, last = call('XINFO', 'STREAM', KEYS[1]), '0-0'
for i = 1, #info, 2 do if info[i] == 'last-generated-id' then last = info[i + 1] end end
if call('HGET', KEYS[2], 'pass') ~= ARGV[1] then
  call('UNLINK', KEYS[3])
  call('HSET', KEYS[2], 'pass', ARGV[1])
end
return { 0, last }
