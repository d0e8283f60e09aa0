-- Tell where messages are, and what came of them; writes nothing.
-- KEYS  1 body  2 state  3 results  4 errors
-- ARGV  ids
-- Returns per id three values: state letter and its 8-byte head if it has one, result or '', error lines or ''.
--       Letters: r ready  d delayed  l leased  p parked  x dead  q quarantined  c cancelled  o over (see its result)
--       ? nothing is known. A message that is there again under an old id wins over the old result.
-- Checked before the first write: there is none.
local call, sub = redis.call, string.sub
local states, results = call('HMGET', KEYS[2], unpack(ARGV)), call('HMGET', KEYS[3], unpack(ARGV))
local reply = {}
for i, id in ipairs(ARGV) do
  local state, errors = '?', ''
  if states[i] then
    state = sub(states[i], 1, 8)
    errors = call('HGET', KEYS[4], id) or ''
  elseif call('HEXISTS', KEYS[1], id) == 1 then
    state = 'r'
  elseif results[i] then
    state = 'o'
  end
  reply[3 * i - 2], reply[3 * i - 1], reply[3 * i] = state, results[i] or '', errors
end
return reply
