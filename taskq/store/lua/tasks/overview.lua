-- Count what one queue holds; writes nothing.
-- KEYS  1 meta  2 body  3 state  4 delayed  5 held  6 left  7 dead  8 quarantine  9 parked  10 outbox
--       11-15 ready lists, priority 2 to -2  16 alone  17.. parked lists of tasks
-- ARGV  1 most leases that are looked into  2 most messages that are looked at one by one  3 most tasks named
-- Returns { now, counts, meta, tasks, parked, oldest }
--       counts: bodies, listed (entries of the ready lists and of alone, marks of cancelled ones included), delayed,
--       leases, leased, running, retrying, dead, quarantined, outbox, earliest due time or ''; leased is -1 if there are
--       more leases than allowed; running and retrying count only what was looked at
--       meta: flat fields and values; tasks: flat names with parked messages and since when in ms;
--       parked: lengths of the lists given; oldest: the first 16-byte id of each ready list that is no mark, or ''
-- Checked before the first write: there is none.
local call, byte, sub = redis.call, string.byte, string.sub
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most, looks = tonumber(ARGV[1]), tonumber(ARGV[2])

-- Records in the order of the ids. The server keeps a small hash as one run of bytes, and goes through it for each field
-- that it is asked for; so for many it is read whole.
local whole
local function records(ids)
  if #ids == 0 then return {} end
  if not whole and (#ids < 40 or call('HLEN', KEYS[3]) > 512) then return call('HMGET', KEYS[3], unpack(ids)) end
  if not whole then
    local flat = call('HGETALL', KEYS[3])
    whole = {}
    for i = 1, #flat, 2 do whole[flat[i]] = flat[i + 1] end
  end
  local found = {}
  for i, id in ipairs(ids) do found[i] = whole[id] or false end
  return found
end

local leases, leased, running = call('HLEN', KEYS[6]), -1, 0
if leases <= most then
  leased = 0
  for _, count in ipairs(leases > 0 and call('HVALS', KEYS[6]) or {}) do leased = leased + count end
  local ids = {}
  for _, blob in ipairs(leases > 0 and leases <= looks and call('HVALS', KEYS[5]) or {}) do
    for at = 17, math.min(#blob, 16 + 16 * (looks - #ids)), 16 do ids[#ids + 1] = sub(blob, at, at + 15) end
    if #ids >= looks then break end
  end
  for _, record in ipairs(records(ids)) do
    if record and byte(record) == 108 and bit.band(byte(record, 3), 2) > 0 then running = running + 1 end
  end
end

local retrying, delayed = 0, call('ZCARD', KEYS[4])
local first = delayed > 0 and call('ZRANGE', KEYS[4], 0, math.max(math.min(looks, 1000), 1) - 1, 'WITHSCORES') or {}
local ids = {}
for i = 1, looks > 0 and #first or 0, 2 do ids[#ids + 1] = first[i] end
for _, record in ipairs(records(ids)) do
  -- handed out before and waiting again: it failed, or asked for another time
  if record and (sub(record, 4, 5) ~= '\0\0' or sub(record, 7, 8) ~= '\0\0') then retrying = retrying + 1 end
end

-- What few queues have is asked for in one go, and one by one only if there is any of it.
local rare = call('EXISTS', KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[14], KEYS[15], KEYS[16]) > 0
local listed, oldest, parked = rare and call('LLEN', KEYS[16]) or 0, { '', '', '', '', '' }, {}
for i = rare and 11 or 13, rare and 15 or 13 do
  local length = call('LLEN', KEYS[i])
  listed = listed + length
  for at = 0, math.min(length, 10) - 1 do
    local id = call('LINDEX', KEYS[i], at)
    local record = call('HGET', KEYS[3], id)
    if (not record or byte(record) == 114) and call('HEXISTS', KEYS[2], id) == 1 then
      oldest[i - 10] = id
      break
    end
  end
end
for i = 17, #KEYS do parked[i - 16] = call('LLEN', KEYS[i]) end
local counts = {
  call('HLEN', KEYS[2]), listed, delayed, leases, leased, running, retrying,
  call('ZCARD', KEYS[7]), rare and call('ZCARD', KEYS[8]) or 0, rare and call('HLEN', KEYS[10]) or 0, first[2] or '',
}
local tasks = rare and call('ZRANGE', KEYS[9], 0, ARGV[3] - 1, 'WITHSCORES') or {}
return { now, counts, call('HGETALL', KEYS[1]), tasks, parked, oldest }
