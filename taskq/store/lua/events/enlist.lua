-- Make a new incarnation of a named publisher known at one partition; older ones are refused there from now on.
-- KEYS  1 producer
-- ARGV  1 nonce of the incarnation
-- Returns { epoch, last number }; a repeat with the same nonce gets the same epoch.
-- Checked before the first write: type, nonce.
local call = redis.call
local told = call('HMGET', KEYS[1], 'epoch', 'n', 'nonce')
if told[3] == ARGV[1] then return { told[1], told[2] or '0' } end
local epoch = call('HINCRBY', KEYS[1], 'epoch', 1)
call('HSET', KEYS[1], 'nonce', ARGV[1])
return { tostring(epoch), told[2] or '0' }
