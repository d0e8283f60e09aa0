-- Tell where messages are, and what came of them; writes nothing.
-- KEYS  1 body  2 state  3 results  4 errors
-- ARGV  ids
-- Returns per id, until 256 KiB are in the reply, three values: state letter and its 8-byte head if it has one, result or '', error lines or ''.
--       Letters: r ready  d delayed  l leased  p parked  x dead  q quarantined  c cancelled  o over (see its result)
--       ? nothing is known. A message that is there again under an old id wins over the old result.
-- Checked before the first write: there is none.
local call, sub = redis.call, string.sub
local states, reply, bytes = call('HMGET', KEYS[2], unpack(ARGV)), {}, 0
for i, id in ipairs(ARGV) do
  if bytes > 262144 then break end
  local state, errors, result = '?', '', call('HGET', KEYS[3], id) or ''
  if states[i] then
    state = sub(states[i], 1, 8)
    errors = call('HGET', KEYS[4], id) or ''
  elseif call('HEXISTS', KEYS[1], id) == 1 then
    state = 'r'
  elseif result ~= '' then
    state = 'o'
  end
  reply[3 * i - 2], reply[3 * i - 1], reply[3 * i] = state, result, errors
  bytes = bytes + #result + #errors
end
return reply
