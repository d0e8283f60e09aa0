-- What every script that appends to a partition begins with: lane, clock, and the next id.
-- KEYS  1 lane  2 log  3 meta  then those of the script, as `kinds` has them
-- ARGV  1 now in ms, or '' for the server's time   2 lane number   3 lane ttl in ms, '' for a named publisher
--       4 epoch of a named publisher, else ''
-- Checked before the first write: types of all keys, epoch, number.
local call, byte, sub = redis.call, string.byte, string.sub
local kinds = { 'hash', 'stream', 'hash', 'hash', 'zset', 'hash' }
for i, key in ipairs(KEYS) do
  local kind = call('TYPE', key).ok
  if kind ~= 'none' and kind ~= (kinds[i] or 'list') then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. kind)
  end
end
local number, slot = tonumber(ARGV[2]), tostring(ARGV[2] % 8)
local lane = call('HMGET', KEYS[1], 'n', slot, 'epoch')
local last = tonumber(lane[1]) or 0
if ARGV[4] ~= '' and lane[3] ~= ARGV[4] then return { 4, lane[3] or '' } end
if number <= last then
  if number > last - 8 then return { 0, lane[2] } else return { 2, '' } end
end
if number ~= last + 1 then return { 1, '' } end

local time, told = call('TIME'), call('HMGET', KEYS[3], 'n', 'b', 'id')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local n, b = tonumber(told[1]), tonumber(told[2])
if not n then -- meta was removed: the last entry knows
  local entry = call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if entry and entry[2][1] == 'n' then n, b = string.match(entry[2][2], '^(%d+),(%d+)$') end
  n, b = tonumber(n) or 0, tonumber(b) or 0
end

-- The next entry comes behind this id, whatever the clock says.
local prefix, seq, first, id
local function behind(known)
  local ms, sequence = string.match(known, '^(%d+)%-(%d+)$')
  if tonumber(ms) < now then ms, sequence = string.format('%.0f', now), -1 end
  prefix, seq = ms .. '-', sequence + 1
end
behind(told[3] or '0-0')

-- Append the first `size` of an XADD, whose id and counts are set here; of so many records and bytes.
local function append(entry, size, count, bytes)
  n, b = n + count, b + bytes
  id, entry[5] = prefix .. seq, string.format('%d,%d', n, b)
  entry[3] = id
  if first then call(unpack(entry, 1, size)) else
    local done = redis.pcall(unpack(entry, 1, size))
    if type(done) == 'table' and done.err then
      if not string.find(done.err, 'equal or smaller', 1, true) then return done end
      local info = call('XINFO', 'STREAM', KEYS[2]) -- somebody else has added an entry
      for i = 1, #info, 2 do if info[i] == 'last-generated-id' then behind(info[i + 1]) end end
      id = prefix .. seq
      entry[3] = id
      call(unpack(entry, 1, size))
    end
    first = id
  end
  seq = seq + 1
end

-- Append what is left of ARGV from `from` on as the usual records, a value each, with keys or without. The loop is what
-- a record costs: no table is filled, and the server gives the sequences.
local function append_plain(from, keyed)
  local log, auto, format = KEYS[2], prefix .. '*', string.format
  for i = from, #ARGV, keyed and 2 or 1 do
    local value, key = ARGV[i], keyed and ARGV[i + 1]
    n, b = n + 1, b + #value + (key and #key or 0)
    if key then
      id = call('XADD', log, auto, 'n', format('%d,%d', n, b), 'v', value, 'k', key)
    else
      id = call('XADD', log, auto, 'n', format('%d,%d', n, b), 'v', value)
    end
  end
  return from <= #ARGV and math.ceil((#ARGV - from + 1) / (keyed and 2 or 1)) or 0
end

local function finish(answer)
  if id then call('HSET', KEYS[3], 'n', n, 'b', b, 'id', id) end
  call('HSET', KEYS[1], 'n', number, slot, answer)
  if ARGV[3] ~= '' then call('PEXPIRE', KEYS[1], ARGV[3]) end
  return { 0, answer }
end
