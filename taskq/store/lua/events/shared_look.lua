-- Say where a shared group stands on one partition.
-- KEYS  as parts/shared.lua says
-- ARGV  1 native group; if that is not there, the one of the epoch that is stored  2 now in ms or ''
-- Returns { code, now, unread, bytes, oldest, pending, waiting, letters, counts, consumers }: code 1 if the group is not
--       there; unread: records and bytes behind the last one that was read; oldest: id of the first record that is not
--       settled, or ''; pending counts what waits for another try too; counts are the fields of the group's hash;
--       consumers are name, pending, idle in ms of each
-- Writes nothing. Checked first: types.
local native = ARGV[1]
if summary.err then
  native = string.match(native, '^[^:]*') .. ':' .. (call('HGET', KEYS[2], 'epoch') or '')
  if native ~= ARGV[1] then summary = redis.pcall('XPENDING', KEYS[1], native) end
end
if summary.err then return { 1, now, 0, 0, '', 0, 0, 0, {}, {} } end
local read = '0-0'
for _, group in ipairs(call('XINFO', 'GROUPS', KEYS[1])) do
  if group[2] == native then read = group[8] end
end
local first = call('XRANGE', KEYS[1], '(' .. read, '+', 'COUNT', 1)[1]
local number, bytes = numbers(first)
local newest, all = numbers(call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1])
local size = 0
for i, part in ipairs(first and first[2] or {}) do
  local name = i % 2 == 0 and first[2][i - 1] or ''
  if name == 'v' or name == 'k' then size = size + #part end
end
local unread = number and newest and newest - number + 1 or 0
local oldest = summary[1] > 0 and summary[2] or first and first[1] or ''
local people = {}
for _, one in ipairs(call('XINFO', 'CONSUMERS', KEYS[1], native)) do
  if one[2] ~= '~' then people[#people + 1] = { one[2], one[4], one[6] } end
end
return {
  0, now, unread, unread > 0 and all - bytes + size or 0, oldest, summary[1],
  call('ZCARD', KEYS[3]) + call('ZCARD', KEYS[4]), call('XLEN', KEYS[6]), call('HGETALL', KEYS[2]), people,
}
