-- End a pass: copy what has been appended since, and put the copy in the place of the log. Readers notice nothing.
-- KEYS  1 log  2 meta  3 fresh  4 old
-- ARGV  1 nonce of the pass   2 last id that was copied or left out
-- Returns 0 swapped, 1 another pass has begun, 2 too much was appended since: copy that first, 3 the log has groups now
-- Checked before the first write: types, pass, groups, number and bytes. A repeat finds it done. In front of it: parts/page.
-- In meta, version counts swaps.
local call = redis.call
for i, right in ipairs({ 'stream', 'hash', 'stream', 'stream' }) do
  local kind = call('TYPE', KEYS[i]).ok
  if kind ~= right and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. kind) end
end
local told = call('HMGET', KEYS[2], 'pass', 'passed')
if told[2] == ARGV[1] then return 0 end
if told[1] ~= ARGV[1] or call('EXISTS', KEYS[1]) == 0 then return 1 end
if #call('XINFO', 'GROUPS', KEYS[1]) > 0 then return 3 end
local info, entries, more = {}, page(KEYS[1], '(' .. ARGV[2], '+', 250, 262144)
if more then return 2 end
local flat = call('XINFO', 'STREAM', KEYS[1])
for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
for _, entry in ipairs(entries) do call('XADD', KEYS[3], entry[1], unpack(entry[2])) end
if call('EXISTS', KEYS[3]) == 0 then -- nothing is left: a stream without entries, whose ids go on
  call('XGROUP', 'CREATE', KEYS[3], 'none', '$', 'MKSTREAM')
  call('XGROUP', 'DESTROY', KEYS[3], 'none')
end
call('XSETID', KEYS[3], info['last-generated-id'], 'ENTRIESADDED', info['entries-added'], 'MAXDELETEDID',
  info['max-deleted-entry-id'])
call('RENAME', KEYS[1], KEYS[4])
call('RENAME', KEYS[3], KEYS[1])
call('UNLINK', KEYS[4])
call('HDEL', KEYS[2], 'pass')
call('HSET', KEYS[2], 'passed', ARGV[1])
call('HINCRBY', KEYS[2], 'version', 1)
return 0
