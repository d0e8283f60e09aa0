-- Accept the parcels of one token into a queue, or back into the one they were taken from, once.
-- KEYS  on a stream queue as parts/head.lua says; then those of enqueue (the lane is a fresh one), then
--       14 errors  15 dead  16 quarantine  17 moved
-- ARGV  1 now in ms or ''  2 for how long to remember the answer, in ms  3 tombstone window in ms
--       4 '1' if they come back: then neither a tombstone nor a unique key keeps them out  then per message: id, parcel
-- Returns { code, answer }: code 0, or 4 this is a stream queue; a letter a message: n accepted, e the id is there,
--       t its tombstone is, u its unique key is held. A repeat gets the first answer, as long as that is remembered.
--       If an id that comes back is there, nothing is done and nothing remembered.
--       A parcel is that of take. Counts, history, due time, expiry and unique key are those that the message had.
-- Checked before the first write: types, whether it was done, tombstones, all that enqueue checks. As an enqueue it is
-- refused when full.
local sub, byte = string.sub, string.byte
local body, state, unique, tombs = own[3], own[4], own[6], own[7]
for i, kind in pairs({ [2] = 'hash', [14] = 'hash', [15] = 'zset', [16] = 'zset', [17] = 'string' }) do
  local found = call('TYPE', own[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. own[i] .. ' is a ' .. found) end
end
local said = call('GET', own[17])
if said then return { 0, said } end
local time, back = call('TIME'), ARGV[4] == '1'
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))

local parcels, bodies, args, answers, clash = {}, {}, { ARGV[1], 1, 1000, ARGV[3], '' }, {}, false
for i = 5, #ARGV, 2 do
  local id, raw = ARGV[i], ARGV[i + 1]
  local kind, prio, flags = byte(raw, 1, 3)
  local due, expires, at = struct.unpack('>dd', raw, 9)
  local digest = bit.band(flags, 16) > 0 and sub(raw, at, at + 15) or ''
  local length, begun = struct.unpack('>I4', raw, at + #digest)
  local one = {
    id = id, kind = kind, prio = prio, flags = flags, counts = sub(raw, 4, 8), due = due, digest = digest,
    lines = sub(raw, begun, begun + length - 1), text = sub(raw, begun + length),
    expires = expires > 0 and struct.pack('>d', expires) or '',
  }
  local until_, holder = tonumber(call('ZSCORE', tombs, id) or nil) or 0, digest ~= '' and call('HGET', unique, digest)
  if call('HEXISTS', body, id) == 1 or call('HEXISTS', state, id) == 1 then
    one.answer, clash = 'e', true
  elseif bit.band(flags, 8) > 0 and not back and until_ > now and until_ == math.floor(until_) then
    one.answer = 't'
  elseif kind == 114 or kind == 100 then
    -- the id is checked already, and its key when it comes back belongs to whoever has taken it meanwhile
    local gone = back and holder and call('HEXISTS', body, holder) == 1
    local spec = string.char(prio, bit.band(flags, gone and 103 or 119))
    args[#args + 1], args[#args + 2], bodies[id] = id, one.text, one.text
    args[#args + 1] = spec .. struct.pack('>dd', kind == 100 and due or 0, expires) .. (gone and '' or digest)
  else
    one.body = one.text
  end
  parcels[#parcels + 1], answers[#answers + 1] = one, one.answer or 'n'
end
if clash and back then return { 0, table.concat(answers) } end
local reply, n, landed, counted = { 0, '' }, 0, 0, 0
if #args > 5 then
  reply = verb(own, args)
  if reply.err or reply[1] ~= 0 then return reply.err and reply or { reply[1], '' } end
end
for i, one in ipairs(parcels) do
  if not one.answer and not one.body then
    one.answer, n = sub(reply[2], n + 1, n + 1), n + 17
  end
  answers[i] = one.answer or 'n'
  if one.body then
    call('HSET', body, one.id, one.body)
    call('ZADD', one.kind == 120 and own[15] or own[16], one.due, one.id)
  end
  if answers[i] == 'n' then
    landed, counted = landed + 1, counted + (one.body and 0 or 1)
    local record = call('HGET', state, one.id)
    local kind = one.body and one.kind or record and byte(record) or 114
    if kind ~= 114 or one.flags > 0 or one.counts ~= '\0\0\0\0\0' then
      local head = string.char(kind, one.prio, one.flags) .. one.counts
      call('HSET', state, one.id, head .. one.digest .. one.expires)
    end
    if one.lines ~= '' then call('HSET', own[14], one.id, one.lines) end
    if bit.band(one.flags, 8) > 0 then call('ZADD', tombs, now + ARGV[3], one.id) end
  end
end
if counted > 0 then call('HINCRBY', own[2], 'enqueued', -counted) end -- that was at their first queue
if landed > 0 and not back then call('HINCRBY', own[2], 'arrived', landed) end
local _, last = append(bodies)
call('DEL', own[1]) -- the answer that is kept does what a lane does
-- messages were taken out of this stream and left entries there: each is looked up from now on
local tally = #own < #KEYS and call('HMGET', KEYS[4], 'holes', 'last', 'doubt')
if tally and tally[1] and not tally[3] and (not tally[2] or wide(tally[1]) > wide(tally[2])) then
  call('HSET', KEYS[4], 'doubt', last or tally[1])
end
call('SET', own[17], table.concat(answers), 'PX', ARGV[2])
return { 0, table.concat(answers) }
