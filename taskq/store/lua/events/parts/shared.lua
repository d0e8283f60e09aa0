-- What each script of a shared group begins with: its types are checked, notes on records can be read and written.
-- KEYS  1 log  2 group  3 retry  4 alone  5 notes  6 dead  7 none  8 meta
-- ARGV  1 the native group, as `name:epoch`  2 now in ms or ''
-- A note is 'attempts deaths alone redriven', and on two more lines the first and the last error. What waits for another
-- try is pending for the consumer '~', so that the smallest pending id is always the smallest that is not settled.
local call = redis.call
local time = call('TIME')
local now = tonumber(ARGV[2]) or (time[1] * 1000 + math.floor(time[2] / 1000))
for i, kind in ipairs({ 'stream', 'hash', 'zset', 'zset', 'hash', 'stream', 'none', 'hash' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local summary = redis.pcall('XPENDING', KEYS[1], ARGV[1])
local ATTEMPTS, DEATHS, ALONE, REDRIVEN, FIRST, LAST = 1, 2, 3, 4, 5, 6

local function note_of(id)
  local text = call('HGET', KEYS[5], id) or ''
  local a, d, alone, r, first, last = string.match(text, '^(%d+) (%d+) (%d) (%d+)\n([^\n]*)\n([^\n]*)$')
  return { tonumber(a) or 0, tonumber(d) or 0, tonumber(alone) or 0, tonumber(r) or 0, first or '', last or '' }
end

local function keep_note(id, note)
  local text = table.concat(note, ' ', 1, 4) .. '\n' .. note[FIRST] .. '\n' .. note[LAST]
  if text ~= '0 0 0 0\n\n' then call('HSET', KEYS[5], id, text) end
end

local function blame(note, line)
  if note[FIRST] == '' then note[FIRST] = line end
  note[LAST] = line
end

-- Puts a record that is pending back: for anybody at `due`, or only for who has nothing else in flight.
local function put_back(id, note, due, alone)
  note[ALONE] = 0
  keep_note(id, note)
  call('ZADD', KEYS[alone and 4 or 3], due, id)
  call('XCLAIM', KEYS[1], ARGV[1], '~', 0, id, 'JUSTID')
end

local function bury(id, note)
  local topic, partition = string.match(KEYS[1], ':([^:}]*):(%d+)}')
  local entry = call('XRANGE', KEYS[1], id, id)[1]
  local letter = { 'topic', topic, 'partition', partition, 'id', id, 'attempts', note[ATTEMPTS], 'deaths', note[DEATHS] }
  for i, name in ipairs({ 'redriven', 'first', 'last' }) do
    letter[#letter + 1], letter[#letter + 2] = name, note[i + 3]
  end
  for _, part in ipairs(entry and entry[2] or {}) do letter[#letter + 1] = part end
  call('XADD', KEYS[6], '*', unpack(letter))
  local dropped = call('XTRIM', KEYS[6], 'MAXLEN', '~', 100000)
  if dropped > 0 then call('HINCRBY', KEYS[2], 'dead_dropped', dropped) end
end

local function split(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function later(id, other)
  local ms, seq = split(id)
  local oms, oseq = split(other)
  return ms > oms or (ms == oms and seq > oseq)
end

local function numbers(entry)
  local number, bytes = string.match(entry and entry[2][1] == 'n' and entry[2][2] or '', '^(%d+),(%d+)$')
  return tonumber(number), tonumber(bytes)
end
