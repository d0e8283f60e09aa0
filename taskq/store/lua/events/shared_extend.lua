-- Keep records that a consumer still works on: their time begins anew.
-- KEYS  as parts/shared.lua says
-- ARGV  1 native group  2 now in ms or ''  3 consumer  4.. ids
-- Returns { code, now, lost }: code 1 if the group is not there; lost: ids that are not pending for this consumer
-- Checked before the first write: types, and for each record who holds it. The first write frees memory.
if summary.err then return { 1, now, {} } end
local owned, lost = {}, {}
for at = 4, #ARGV do
  local id = ARGV[at]
  local mine = #call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[3]) == 1
  if mine then owned[#owned + 1] = id else lost[#lost + 1] = id end
end
if #owned == 0 then return { 0, now, lost } end
owned[#owned + 1] = 'JUSTID'
call('DEL', KEYS[7])
call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, unpack(owned))
return { 0, now, lost }
