-- The verb takes messages out. What had been given back is acknowledged; what was unread leaves an entry in the stream,
-- whose message is gone when it is read. holes is the last entry by then: if such a message comes back, it has two
-- entries that are unread. It is asked for by itself, since XINFO would read the body of the first one as well.
-- Checked before the first write: nothing more.
local taken, ids = verb(own, ARGV), {}
if type(taken) == 'table' then return taken end
for at = 1, #taken, 16 do ids[#ids + 1] = sub(taken, at, at + 15) end
settle(ids)
local final = #ids > 0 and ARGV[4] == 'r' and call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if final then call('HSET', KEYS[4], 'holes', final[1]) end
return taken
