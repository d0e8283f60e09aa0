-- Store the properties of a topic, if they are still what the caller has seen.
-- KEYS  1 topics
-- ARGV  1 name of the topic   2 the properties that the caller has seen, '' for none   3 the new ones, '' to look only
-- Returns the properties that are stored now, '' for none; a repeat finds its own.
-- Checked before the first write: what is stored. The one write may not be a freeing one.
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if ARGV[3] == '' or stored ~= ARGV[2] then return stored end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return ARGV[3]
