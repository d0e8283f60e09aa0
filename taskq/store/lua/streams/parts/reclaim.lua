-- The verb takes back what one token holds: the entries of what waits again are kept by id, and stay pending.
-- Checked before the first write: nothing more.
local token, ours = ARGV[2], {}
local held, entries = call('HGET', KEYS[9], token), call('HGET', KEYS[2], token)
local function is_held(id)
  local record = call('HGET', KEYS[8], id)
  return record and string.byte(record) == 108 and sub(record, 9, 28) == token
end
for at = 17, held and entries and #held or 0, 16 do
  local id, place = sub(held, at, at + 15), (at - 17) / 16 * WIDE
  if is_held(id) then ours[#ours + 1] = { id, sub(entries, place + 1, place + WIDE) } end
end
local reply = verb(own, ARGV)
if reply.err then return reply end
for _, item in ipairs(ours) do
  if not is_held(item[1]) then call('HSET', KEYS[2], item[1], item[2]) end
end
if entries and call('HEXISTS', KEYS[9], token) == 0 then call('HDEL', KEYS[2], token) end
return reply
