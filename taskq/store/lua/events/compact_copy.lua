-- Copy a page of a partition, less what is superseded, with its ids and numbers.
-- KEYS  1 log  2 meta  3 fresh
-- ARGV  1 nonce of the pass   2 first id, with '(' before it to begin behind it, or '-'   3 last id   then ids to leave out
-- Returns 0 copied, 1 another pass has begun, 2 that is more than one script may copy
-- Checked before the first write: types, pass, number and bytes. A repeat finds its entries there. In front of it: parts/page.
local call, out = redis.call, {}
for i, right in ipairs({ 'stream', 'hash', 'stream' }) do
  local kind = call('TYPE', KEYS[i]).ok
  if kind ~= right and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. kind) end
end
if call('HGET', KEYS[2], 'pass') ~= ARGV[1] then return 1 end
local entries, more = page(KEYS[1], ARGV[2], ARGV[3], 250, 262144)
if more then return 2 end
for i = 4, #ARGV do out[ARGV[i]] = true end
local last = call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
if last then -- what is there already
  for _, entry in ipairs(call('XRANGE', KEYS[3], ARGV[2], ARGV[3])) do out[entry[1]] = true end
end
for _, entry in ipairs(entries) do
  if not out[entry[1]] then call('XADD', KEYS[3], entry[1], unpack(entry[2])) end
end
return 0
