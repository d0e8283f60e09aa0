-- Remove from the head of a partition what its retention does not keep, by whole nodes of the stream.
-- KEYS  1 none  2 log  3 meta  then the hashes of the groups that are named, then lists of an index in which to forget
-- ARGV  1 now in ms, or '' for the server's time   2 records, 3 bytes, 4 ms that are kept, each '' for no limit
--       5 how many entries to remove at most (one more if compacted)   6 an id, '' for none: nothing from it on is removed
--       then per group its name, with '!' before it if nothing may be removed that it has not handled
-- Returns { removed records, whether there is more, first id that is left or '', group that holds it back or '', since when }
-- Checked before the first write: types. The first write frees, so a full server is trimmed. In front of it: parts/unindex.
-- In meta, gone, gone_b, gone_id say up to where all is removed; held and held_since which group holds it back; and
-- overrun:<group> how many records were removed that a group had not handled.
for i, key in ipairs(KEYS) do
  local kind, right = call('TYPE', key).ok, i == 2 and 'stream' or i > #ARGV - 3 and 'list' or 'hash'
  if kind ~= 'none' and kind ~= right then return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. kind) end
end
local time, told = call('TIME'), call('HMGET', KEYS[3], 'n', 'b', 'gone', 'held', 'held_since', 'gone_b', 'version')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local n, b, gone = tonumber(told[1]) or 0, tonumber(told[2]) or 0, tonumber(told[3]) or 0
local count, bytes, age = tonumber(ARGV[2]) or math.huge, tonumber(ARGV[3]) or math.huge, tonumber(ARGV[4]) or math.huge

local function parts(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)')
  return tonumber(ms), tonumber(seq)
end
local function before(one, two)
  local ms, seq = parts(one)
  local other, last = parts(two)
  return ms < other or (ms == other and seq < last)
end
-- The first entry from an id on: its id, and number and bytes after it; somebody else's has those of the next.
local function look(from)
  local found = call('XRANGE', KEYS[2], from, '+', 'COUNT', 1)[1]
  if not found then return nil end
  local id, entry = found[1], found
  while entry and entry[2][1] ~= 'n' do entry = call('XRANGE', KEYS[2], '(' .. entry[1], '+', 'COUNT', 1)[1] end
  local number, size = string.match(entry and entry[2][2] or n .. ',' .. b, '^(%d+),(%d+)$')
  return id, tonumber(number), tonumber(size), entry and entry[2] or {}
end
local function over(from) -- whether the first entry from an id on may go
  local id, number, size = look(from)
  return id ~= nil and (n - number >= count or b - size >= bytes or now - parts(id) > age)
end
-- The least number from low to high for which `over` says no; `high` if it never does.
local function search(low, high, spell)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if over(string.format(spell, middle)) then low = middle + 1 else high = middle end
  end
  return low
end

local cut, holder, last = nil, '', call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if last and over('-') then
  local begin, finish = parts(look('-')), parts(last[1])
  local ms = search(begin, finish + 1, '%.0f-0') - 1
  local _, seq = parts(call('XREVRANGE', KEYS[2], string.format('%.0f', ms), '-', 'COUNT', 1)[1][1])
  cut = string.format('%.0f-%.0f', ms, search(0, seq + 1, string.format('%.0f', ms) .. '-%.0f'))
  if ARGV[6] ~= '' and before(ARGV[6], cut) then cut = ARGV[6] end
end
for i = 7, #ARGV do
  local at = string.match(call('HGET', KEYS[i - 3], 'at') or '0-0', '^%d+%-%d+') or '0-0'
  if cut and string.sub(ARGV[i], 1, 1) == '!' and before(at, cut) then cut, holder = at, string.sub(ARGV[i], 2) end
end
call('DEL', KEYS[1])
local since = holder ~= '' and (told[4] == holder and told[5] or tostring(now)) or ''
if holder ~= '' then call('HSET', KEYS[3], 'held', holder, 'held_since', since)
elseif told[4] then call('HDEL', KEYS[3], 'held', 'held_since') end
local final = told[7] and cut and call('XREVRANGE', KEYS[2], '(' .. cut, '-', 'COUNT', 1)[1]
local went = cut and call('XTRIM', KEYS[2], 'MINID', '~', cut, 'LIMIT', ARGV[5]) or 0
local first, number, size, fields = look('-')
if went > 0 and final and first and before(first, cut) then -- which one the last was is known only of one looked at
  final, went = call('XRANGE', KEYS[2], first, first)[1], went + call('XDEL', KEYS[2], first)
  first, number, size, fields = look('-')
end
if went == 0 then return { 0, 0, first or '', holder, since } end
unindex(KEYS[2], #ARGV - 2)
local up_to, up_to_b, id = n, b, last[1]
if first then
  local ms, seq = parts(first)
  id = seq > 0 and string.format('%.0f-%.0f', ms, seq - 1) or string.format('%.0f-9007199254740991', ms - 1)
  up_to, up_to_b = number - (fields[3] == 'c' and fields[4] or 1), size
  for i = 3, #fields, 2 do if string.find('vkb', fields[i], 1, true) then up_to_b = up_to_b - #fields[i + 1] end end
end
if final and final[2][1] == 'n' then up_to = tonumber(string.match(final[2][2], '^%d+')) end
up_to, up_to_b = math.max(up_to, gone), math.max(up_to_b, tonumber(told[6]) or 0) -- compaction may bring some back
call('HSET', KEYS[3], 'gone', up_to, 'gone_b', up_to_b, 'gone_id', id)
for i = 7, #ARGV do
  local group = KEYS[i - 3]
  local lost = up_to - math.max(gone, tonumber(call('HGET', group, 'n') or nil) or 0)
  if lost > 0 and call('HEXISTS', group, 'at') == 1 then call('HINCRBY', KEYS[3], 'overrun:' .. ARGV[i], lost) end
end
return { up_to - gone, cut and over('-') and went > 0 and 1 or 0, first or '', holder, since }
