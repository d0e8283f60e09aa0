-- Hand out what is due again and what dead consumers left; forget those; say where the group stands.
-- KEYS  as parts/shared.lua says
-- ARGV  1 native group  2 now in ms or ''  3 consumer  4 lease in ms: what is idle for longer is taken from others
--       5 at most so many records  6 at most so many bytes, but one record  7 '1' if nothing is in flight there
--       8 forget consumers that hold nothing and are silent for so long, in ms  9 error line of who died
-- Returns { code, now, next, alone, lost, rows }: code 1 if the group is not there; next: in how many ms something will be
--       due, or -1; alone is 1 if a record waits for a consumer with nothing in flight; lost: how many records are gone
--       from the log since ever that nobody settled; a row is { id, attempts, deaths, redriven, alone, fields }
-- Nobody knows which record a dead consumer died of. One that was there twice is run alone; who dies of it then makes it
-- a dead letter. Handed out is pending for the consumer, as if it had read it; a repeat hands out no more of the same.
-- Checked before the first write: types. The first write frees memory.
if summary.err then return { 1, now, -1, 0, 0, {} } end
local lease, room, bytes, me = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[3]
local found, size, silent, next = {}, 0, {}, math.huge
local alone = call('ZRANGE', KEYS[4], 0, 0)[1]

local function look(id, key)
  local entry = call('XRANGE', KEYS[1], id, id)[1]
  local length = 0
  for _, part in ipairs(entry and entry[2] or {}) do length = length + #part end
  if #found > 0 and size + length > bytes then return false end
  size = size + length
  found[#found + 1] = { id, key, entry and entry[2], note_of(id) }
  return #found < room
end

for _, one in ipairs(call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local name, pending, idle = one[2], one[4], one[6]
  if name ~= '~' and name ~= me and pending > 0 then
    for _, item in ipairs(room > 0 and call('XPENDING', KEYS[1], ARGV[1], 'IDLE', lease, '-', '+', room, name) or {}) do
      if #found >= room or not look(item[1]) then break end
    end
    next = math.min(next, math.max(lease - idle, 0))
  elseif name ~= '~' and name ~= me and idle > tonumber(ARGV[8]) and #silent < 100 then
    silent[#silent + 1] = name
  end
end
if alone and ARGV[7] == '1' and #found == 0 and room > 0 then
  look(alone, KEYS[4])
elseif #found < room then
  for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, room - #found)) do
    if not look(id, KEYS[3]) then break end
  end
end

local rows, gone = {}, {}
call('DEL', KEYS[7])
for _, item in ipairs(found) do
  local id, key, fields, note = unpack(item, 1, 4)
  if key then
    call('ZREM', key, id)
  elseif note[DEATHS] < 2 or note[ALONE] == 1 then
    note[DEATHS] = note[DEATHS] + 1
    blame(note, ARGV[9])
  end
  if not fields or note[DEATHS] > 2 then
    gone[#gone + 1] = id
    if fields then
      bury(id, note)
      call('HINCRBY', KEYS[2], 'dead', 1)
      call('HINCRBY', KEYS[2], 'done', 1)
    end
  elseif not key and note[DEATHS] == 2 then
    put_back(id, note, now, true)
  else
    note[ALONE] = key == KEYS[4] and 1 or 0
    keep_note(id, note)
    call('XCLAIM', KEYS[1], ARGV[1], me, 0, id, 'JUSTID')
    rows[#rows + 1] = { id, note[ATTEMPTS], note[DEATHS], note[REDRIVEN], note[ALONE], fields }
  end
end
if #gone > 0 then
  call('XACK', KEYS[1], ARGV[1], unpack(gone))
  call('HDEL', KEYS[5], unpack(gone))
end
for _, name in ipairs(silent) do call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name) end
