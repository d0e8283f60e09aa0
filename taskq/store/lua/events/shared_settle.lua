-- Settle records that are pending for one consumer: done, failed and to be tried again, dead, or not begun.
-- KEYS  as parts/shared.lua says
-- ARGV  1 native group  2 now in ms or ''  3 consumer
--       then per record: id, verb, delay in ms, error line; verbs: a acked  f rejected by the filters  r failed, try
--       again after the delay  n the same, but it spends no attempt  d dead letter  g given back, not begun
-- Returns { code, now, lost }: code 1 if the group is not there; lost are the ids that are not pending for this consumer,
--       of which nothing was written
-- A repeat finds nothing pending and changes nothing. A run that came to its end starts the count of deaths anew.
-- Checked before the first write: types, and for each record who holds it. The first write frees memory.
if summary.err then return { 1, now, {} } end
local owned, lost, seen = {}, {}, {}
for at = 4, #ARGV, 4 do
  local id = ARGV[at]
  if not seen[id] and #call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[3]) == 1 then
    owned[#owned + 1], seen[id] = at, true
  else
    lost[#lost + 1] = id
  end
end
if #owned == 0 then return { 0, now, lost } end

local done, counts = {}, { a = 0, f = 0, r = 0, n = 0, d = 0, g = 0 }
call('DEL', KEYS[7])
for _, at in ipairs(owned) do
  local id, verb, delay, line = unpack(ARGV, at, at + 3)
  counts[verb] = counts[verb] + 1
  if verb == 'a' or verb == 'f' then
    done[#done + 1] = id
  else
    local note = note_of(id)
    if line ~= '' then blame(note, line) end
    if verb == 'r' or verb == 'd' then note[ATTEMPTS] = note[ATTEMPTS] + 1 end
    if verb == 'd' then
      bury(id, note)
      done[#done + 1] = id
    else
      if verb ~= 'g' then note[DEATHS] = 0 end
      put_back(id, note, now + delay, note[DEATHS] > 1)
    end
  end
end
if #done > 0 then
  call('XACK', KEYS[1], ARGV[1], unpack(done))
  call('HDEL', KEYS[5], unpack(done))
  call('HINCRBY', KEYS[2], 'done', #done)
end
for verb, name in pairs({ a = 'acked', f = 'filtered', r = 'retried', d = 'dead' }) do
  if counts[verb] > 0 then call('HINCRBY', KEYS[2], name, counts[verb]) end
end
return { 0, now, lost }
