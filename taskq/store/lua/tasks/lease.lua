-- Hand out ready messages of one queue under one token, most urgent list first.
-- KEYS  1 worker  2 meta  3 body  4 state  5 leases  6 held  7 left  8 wake  9 delayed  10 none
--       11.. the lists to read, in order (the five ready lists; or alone, or a task's parked list, by itself)
-- ARGV  1 now in ms or ''  2 token (20 bytes)  3 call number  4 lease in ms  5 message limit  6 byte limit
--       7 worker key ttl in ms  8 there if the caller knows that this is a stream queue
-- Returns { code, now, due, fence, ids, heads, bodies... }: code 0 leased (a repeat answers the same batch), 1 nothing
--       (an older call that holds nothing, too), 2 paused, 3 refused (reclaim has retired this worker), 4 this is a stream
--       queue and ARGV 8 is not there; due is the earliest delayed time or '';
--       ids and heads are concatenated (16 and 8 bytes each; heads '' when each is fresh, plain and of priority 0);
--       flag 128 in a head: its expiry has passed, so it must be settled as expired
-- Checked before the first write: call number, pause, types, states, sizes and bodies. The first write frees memory.
local call, byte, sub, char, time = redis.call, string.byte, string.sub, string.char, redis.call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local token, number, limit, room = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
local due, last = call('ZRANGE', KEYS[9], 0, 0, 'WITHSCORES')[2] or '', tonumber(call('HGET', KEYS[1], 'lease')) or 0
local blob = call('HGET', KEYS[6], token)
if blob or number <= last then -- a token that is held is a repeat, even if the worker key has expired
  if not blob then return { last < 9007199254740992 and 1 or 3, now, due } end
  local reply, ids, heads = { 0, now, due, sub(blob, 1, 16) }, {}, {}
  for at = 17, #blob, 16 do
    local id = sub(blob, at, at + 15)
    local record, body = call('HGET', KEYS[4], id), call('HGET', KEYS[3], id)
    if record and body and sub(record, 9, 28) == token then
      ids[#ids + 1], heads[#heads + 1], reply[8 + #ids] = id, sub(record, 1, 8), body
    end
  end
  reply[5], reply[6], reply[7] = table.concat(ids), table.concat(heads), #ids
  return reply
end
local meta = call('HMGET', KEYS[2], 'paused', 'fence', 'transport')
if meta[1] or (meta[3] and not ARGV[8]) then return { meta[1] and 2 or 4, now, due } end

local taken, heads, tails, drops, trims, found, bytes, more, plain, full = {}, {}, {}, {}, {}, 0, 0, 0, true, false
for list = 11, #KEYS do
  local length = call('LLEN', KEYS[list])
  local ids = length > 0 and found < limit and not full and call('LRANGE', KEYS[list], 0, limit - found - 1) or {}
  local states, fresh = #ids > 0 and call('HMGET', KEYS[4], unpack(ids)), char(108, list - 11, 0, 0, 1, 0, 0, 0)
  more = more + length
  for i, id in ipairs(ids) do
    local record = states[i]
    if bytes > room then full = true break end
    if not record or record ~= 'c' and not string.find(record, '^[rdlpxq].......') then -- none, or a damaged one
      found, plain = found + 1, plain and list == 13
      taken[found], heads[found], tails[found] = id, fresh, ''
    else
      local kind, prio, flags, high, low = byte(record, 1, 5)
      if kind == 114 or kind == 112 then
        if bit.band(flags, 64) > 0 then bytes = bytes + call('HSTRLEN', KEYS[3], id) end
        if bytes > room and found > 0 then full = true break end
        if bit.band(flags, 32) > 0 and struct.unpack('>d', sub(record, -8)) < now then flags = bit.bor(flags, 128) end
        local count = math.min(high * 256 + low + 1, 65535)
        found, plain = found + 1, false
        taken[found] = id
        tails[found] = sub(record, 9, 8 + bit.band(flags, 16)) .. sub(record, #record + 1 - bit.band(flags, 32) / 4)
        heads[found] = char(108, math.min(prio, 4), flags, math.floor(count / 256), count % 256) .. sub(record, 6, 8)
      elseif kind == 99 then
        drops[#drops + 1] = id
      end
    end
    trims[list] = i
  end
end
local bodies, ids, sets, kept = found > 0 and call('HMGET', KEYS[3], unpack(taken)) or {}, {}, {}, {}
local reply, fence = { 1, now, due, '', '', '', 0 }, math.max(tonumber(meta[2]) or 0, now * 1000)
for i = 1, found do
  if bodies[i] then
    local n = #ids + 1
    ids[n], kept[n], reply[7 + n] = taken[i], heads[i], bodies[i]
    sets[2 * n - 1], sets[2 * n] = taken[i], heads[i] .. token .. tails[i]
  else
    drops[#drops + 1] = taken[i]
  end
end
local waiting = next(trims) and call('LLEN', KEYS[8])
if #ids > 0 then call('ZCARD', KEYS[5]) call('HLEN', KEYS[6]) call('HLEN', KEYS[7]) end
call('DEL', KEYS[10])
for list, n in pairs(trims) do more = more - n call('LTRIM', KEYS[list], n, -1) end
if #drops > 0 then call('HDEL', KEYS[4], unpack(drops)) end
call('HSET', KEYS[1], 'lease', number)
call('PEXPIRE', KEYS[1], ARGV[7])
if waiting == 0 and more > 0 then call('RPUSH', KEYS[8], '1') end
if #ids == 0 then return reply end
reply[1], reply[4] = 0, string.format('%016.0f', fence + 1)
reply[5], reply[6], reply[7] = table.concat(ids), plain and '' or table.concat(kept), #ids
call('HSET', KEYS[4], unpack(sets))
call('ZADD', KEYS[5], now + ARGV[4], token)
call('HSET', KEYS[6], token, reply[4] .. reply[5])
call('HSET', KEYS[7], token, #ids)
call('HSET', KEYS[2], 'fence', string.format('%.0f', fence + #ids))
return reply
