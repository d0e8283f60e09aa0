-- Give back what is pending for a consumer but not known to it, since an answer was lost; or all of it when it leaves.
-- KEYS  as parts/shared.lua says
-- ARGV  1 native group  2 now in ms or ''  3 consumer  4 '1' to leave for good  5.. ids that it keeps
-- Returns { code, now, given, more }: code 1 if the group is not there; more is 1 if another call would go on
-- No attempt is spent. A consumer is removed only once it holds nothing, since its pending records would go with it.
-- Checked before the first write: types. The first write frees memory.
if summary.err then return { 1, now, 0, 0 } end
local keep, given, start, more = {}, {}, '-', 0
for at = 5, #ARGV do keep[ARGV[at]] = true end
repeat
  local page = call('XPENDING', KEYS[1], ARGV[1], start, '+', 250, ARGV[3])
  for _, item in ipairs(page) do
    start = '(' .. item[1]
    if not keep[item[1]] then given[#given + 1] = item[1] end
  end
  if #given >= 250 then more = 1 end
until #page < 250 or more == 1
call('DEL', KEYS[7])
for _, id in ipairs(given) do
  local note = note_of(id)
  put_back(id, note, now, note[DEATHS] > 1)
end
if ARGV[4] == '1' and more == 0 and #call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[3]) == 0 then
  call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[3])
end
return { 0, now, #given, more }
