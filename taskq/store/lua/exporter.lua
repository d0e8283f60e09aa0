-- Hold, take, leave or learn of the place of the one exporter that serves the figures of a namespace.
-- KEYS  1 the place: rank (one digit) and id of its holder, with an expiry
-- ARGV  1 our rank and id  2 for how long we hold it, in ms; 0 leaves it
-- Returns 1 if the place is ours after this call, else 0. A larger rank takes it from a smaller one at once. A repeat
--       changes nothing but the expiry.
-- Checked before the first write: type. The first write frees memory, so that a full server can be watched.
local call, sub = redis.call, string.sub
local own, ttl = ARGV[1], tonumber(ARGV[2])
local held = call('GET', KEYS[1])
if ttl == 0 then
  if held == own then call('DEL', KEYS[1]) end
  return 0
end
if held == own then
  call('PEXPIRE', KEYS[1], ttl)
  return 1
end
if held and sub(held, 1, 1) >= sub(own, 1, 1) then return 0 end
call('DEL', KEYS[1])
call('SET', KEYS[1], own, 'PX', ttl)
return 1
