-- The verb ends leases: the entries of all messages that it did not answer as lost are acknowledged; what it made ready
-- is appended. named, which the part before this one sets, has the ids in ARGV; NUMBER is the field of the call number.
-- Checked before the first write: whether this is a repeat, which changes nothing.
local number = NUMBER and tonumber(ARGV[2])
local repeated = number and (tonumber(call('HGET', own[1], NUMBER)) or 0) >= number
local reply = verb(own, ARGV)
if reply.err or repeated then return reply end
local lost, ended = {}, {}
for at = 1, #reply[3], 16 do
  local id = string.sub(reply[3], at, at + 15)
  lost[id] = (lost[id] or 0) + 1
end
for id, times in pairs(named) do
  -- named twice, it is lost the second time
  if times > (lost[id] or 0) then ended[#ended + 1] = id end
end
settle(ended)
append()
return reply
