-- The verb takes from its lists; before, they are filled up from the stream. What it drops is acknowledged.
-- What is leased without an entry (it was parked, or came while this was a list queue) is noted as '-'.
-- A repeat reads nothing, nor does a paused queue.
-- Checked before the first write: nothing more; what was read and is not leased waits in the ready list.
local last = tonumber(call('HGET', own[1], 'lease')) or 0
if tonumber(ARGV[3]) <= last or call('HEXISTS', own[6], ARGV[2]) == 1 or call('HEXISTS', own[2], 'paused') == 1 then
  return verb(own, ARGV)
end
local limit, waiting, before, leased = tonumber(ARGV[5]), {}, 0, {}
for list = 11, #own do
  before = before + call('LLEN', own[list])
  for _, id in ipairs(#waiting < limit and call('LRANGE', own[list], 0, limit - #waiting - 1) or {}) do
    waiting[#waiting + 1] = id
  end
end
local landed, moved, failure, unsure = {}, false, nil, false
if own[13] and #waiting < limit then landed, moved, failure, unsure = read(own[13], limit - #waiting) end
if failure then return failure end
local reply = verb(own, ARGV)
if reply.err or reply[1] > 1 then return reply end

local taken, ids = before + #landed, reply[5]
for list = 11, #own do taken = taken - call('LLEN', own[list]) end
if taken > 0 and (#waiting > 0 or taken ~= reply[7]) then
  local drops = {}
  for at = 1, #ids, 16 do leased[string.sub(ids, at, at + 15)] = true end
  for _, id in ipairs(waiting) do
    if leased[id] then call('HSETNX', KEYS[2], id, '-') end
  end
  for _, id in ipairs(landed) do waiting[#waiting + 1] = id end
  for i = 1, math.min(taken, #waiting) do
    local id = waiting[i]
    -- what another one holds keeps its entry
    if not leased[id] and string.sub(call('HGET', own[4], id) or '', 1, 1) ~= 'l' then drops[#drops + 1] = id end
  end
  settle(drops)
end
if own[13] and (taken > 0 or moved) and call('LLEN', own[8]) == 0 then
  local tally = call('HMGET', KEYS[4], 'appended', 'read')
  if unsure or (tonumber(tally[1]) or 0) > (tonumber(tally[2]) or 0) then call('RPUSH', own[8], '1') end
end
return reply
