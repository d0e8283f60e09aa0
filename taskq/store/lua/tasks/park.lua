-- Set messages held under their tokens aside, because no worker here knows their task; a lease of its task's list takes them.
-- KEYS  1 meta  2 state  3 leases  4 held  5 left  6 parked  7 none  8.. parked lists of the tasks named in ARGV
-- ARGV  1 now in ms or ''  then per message: token, id, index in KEYS of its task's parked list, task name
-- Returns { code, now, lost }: code 0 stored; lost: ids whose token is not current (concatenated). A repeat changes nothing.
-- Checked before the first write: types, tokens. The first write frees memory.
local call, sub, byte = redis.call, string.sub, string.byte
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local kinds = { 'hash', 'hash', 'zset', 'hash', 'hash', 'zset', 'none' }
for i, key in ipairs(KEYS) do
  local found = call('TYPE', key).ok
  if found ~= (kinds[i] or 'list') and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found)
  end
end

local held, lost, seen = {}, {}, {}
for at = 2, #ARGV, 4 do
  local record = call('HGET', KEYS[2], ARGV[at + 1])
  if record and not seen[ARGV[at + 1]] and byte(record) == 108 and sub(record, 9, 28) == ARGV[at] then
    held[#held + 1], seen[ARGV[at + 1]] = { at, ARGV[at + 1], record }, true
  else
    lost[#lost + 1] = ARGV[at + 1]
  end
end
call('DEL', KEYS[7])
for _, item in ipairs(held) do
  local at, id, record = item[1], item[2], item[3]
  local token, high, low = ARGV[at], byte(record, 4, 5)
  if call('HINCRBY', KEYS[5], token, -1) <= 0 then
    call('HDEL', KEYS[5], token)
    call('HDEL', KEYS[4], token)
    call('ZREM', KEYS[3], token)
  end
  local count = math.max(high * 256 + low - 1, 0)
  local kept = string.char(bit.band(byte(record, 3), 121), math.floor(count / 256), count % 256)
  local digest = bit.band(byte(record, 3), 16)
  local rest = sub(record, 29, 28 + digest) .. struct.pack('>d', now) .. sub(record, 29 + digest)
  call('HSET', KEYS[2], id, 'p' .. sub(record, 2, 2) .. kept .. sub(record, 6, 8) .. rest)
  call('RPUSH', KEYS[tonumber(ARGV[at + 2])], id)
  if not call('ZSCORE', KEYS[6], ARGV[at + 3]) then call('ZADD', KEYS[6], now, ARGV[at + 3]) end
end
if #held > 0 then call('HINCRBY', KEYS[1], 'parked', #held) end
return { 0, now, table.concat(lost) }
