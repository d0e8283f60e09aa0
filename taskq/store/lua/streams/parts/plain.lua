-- What a script begins with that puts more around a verb on a list queue: the names that head.lua gives on a stream
-- queue.
local call, own = redis.call, { unpack(KEYS) }
local function append() end -- what the verb made ready lies where it belongs
