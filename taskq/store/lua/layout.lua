-- Raise the layout number of a namespace to that of a release that starts.
-- KEYS  1 layout
-- ARGV  1 the number of the release
-- Returns the newest number in use, after this call. A repeat changes nothing.
-- Checked before the first write: type. The first write frees memory, so that workers can start on a full server.
local call = redis.call
local stored = tonumber(call('GET', KEYS[1])) or 0
local own = tonumber(ARGV[1])
if stored >= own then return stored end
call('DEL', KEYS[1])
call('SET', KEYS[1], own)
return own
