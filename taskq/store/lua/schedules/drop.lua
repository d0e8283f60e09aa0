-- Remove a schedule's entry if it is as the caller knows it.
-- KEYS  1 schedules  2 the entry
-- ARGV  1 name  2 revision that the caller knows
-- Returns { code, revision }: 0 removed, 1 there is none (a repeat too), 2 not as the caller knows it
-- Checked before the first write: types, revision. The first write frees memory.
local call = redis.call
call('ZCARD', KEYS[1])
local rev = call('HGET', KEYS[2], 'rev')
if not rev then return { 1, '' } end
if rev ~= ARGV[2] then return { 2, rev } end
call('DEL', KEYS[2])
call('ZREM', KEYS[1], ARGV[1])
return { 0, rev }
