-- Append messages anew whose entries somebody took away before they were read: one page of all that the queue holds.
-- KEYS  as parts/head.lua says, then 1 wake  2 none
-- ARGV  1 about how many messages to look at
-- Returns { appended, left }: left is 0 when all have been looked at, or nothing was to do
-- Some may be there still, or twice now: until the newest of these entries is read, each is looked up (doubt).
-- Checked before the first write: types. The first write frees memory.
local cursor, found, marker = call('HGET', KEYS[4], 'repair'), 0, call('LLEN', own[1])
if not cursor then return { 0, 0 } end
local big = tonumber(call('HGET', KEYS[4], 'big') or 0)
local page = call('HSCAN', KEYS[7], cursor, 'COUNT', big > 16384 and 10 or ARGV[1])
call('DEL', own[2])
for i = 1, #page[2], 2 do
  local id = page[2][i]
  local record = call('HGET', KEYS[8], id)
  -- after two crashes it waits in alone, where nobody took it away
  local plain = not record or (string.byte(record) == 114 and string.byte(record, 6) < 2)
  if plain and call('HEXISTS', KEYS[2], id) == 0 then
    call('RPUSH', KEYS[3], id)
    found = found + 1
  end
end
if found > 0 then
  local _, last = append()
  call('HINCRBY', KEYS[4], 'repaired', found)
  call('HSET', KEYS[4], 'doubt', last)
  if marker == 0 then call('RPUSH', own[1], '1') end
end
if page[1] == '0' then call('HDEL', KEYS[4], 'repair') else call('HSET', KEYS[4], 'repair', page[1]) end
return { found, page[1] == '0' and 0 or 1 }
