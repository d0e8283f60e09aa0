-- Give dead letters of a shared group to its handlers again, and to no other group.
-- KEYS  as parts/shared.lua says
-- ARGV  1 native group  2 now in ms or ''  3 how often one record may be redriven  4.. ids in the stream of dead letters
-- Returns { code, now, redriven, capped, gone }: code 1 if the group is not there; capped and gone are ids that stay: they
--       were redriven too often, or their record is no longer in the log
-- Its attempts begin anew, its errors and the count of redrives stay with it. A repeat finds no such letter. If the group
-- was put back before the record, that comes by itself: then only the letter goes.
-- Checked before the first write: types. The first write frees memory.
if summary.err then return { 1, now, 0, {}, {} } end
local again, capped, gone, seen, back, read = {}, {}, {}, {}, 0, '0-0'
for _, one in ipairs(call('XINFO', 'GROUPS', KEYS[1])) do
  if one[2] == ARGV[1] then read = one[8] end
end
for at = 4, #ARGV do
  local letter = call('XRANGE', KEYS[6], ARGV[at], ARGV[at])[1]
  local fields = {}
  for i = 1, letter and 16 or 0, 2 do fields[letter[2][i]] = letter[2][i + 1] end
  local note = { 0, 0, 0, (tonumber(fields.redriven) or 0) + 1, fields.first or '', fields.last or '' }
  if letter and note[REDRIVEN] > tonumber(ARGV[3]) then
    capped[#capped + 1] = ARGV[at]
  elseif letter and #call('XRANGE', KEYS[1], fields.id, fields.id) == 0 then
    gone[#gone + 1] = ARGV[at]
  elseif letter and not seen[ARGV[at]] then
    again[#again + 1], seen[ARGV[at]] = { ARGV[at], fields.id, note }, true
  end
end
call('DEL', KEYS[7])
for _, item in ipairs(again) do
  call('XDEL', KEYS[6], item[1])
  if not later(item[2], read) then
    back = back + 1
    call('XCLAIM', KEYS[1], ARGV[1], '~', 0, item[2], 'FORCE', 'JUSTID')
    put_back(item[2], item[3], now, false)
  end
end
if #again > 0 then call('HINCRBY', KEYS[2], 'redriven', #again) end
if back > 0 then call('HINCRBY', KEYS[2], 'done', -back) end
return { 0, now, #again, capped, gone }
