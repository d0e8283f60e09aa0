-- Take back every message of one token whose holder is dead or whose deadline has passed.
-- KEYS  1 worker  2 meta  3 state  4 leases  5 held  6 left  7 wake  8 errors  9 none
--       10-14 ready lists, priority 2 to -2  15 alone  16 recent
-- ARGV  1 now in ms or ''  2 token  3 mode: 'lapse' only if the deadline has passed; 'crash' at once, and no later call of
--       that worker is accepted; 'recall' at once, but what was started stays held, and a call that holds nothing yet gets
--       nothing any more  4 worker key ttl in ms
--       5 deaths that condemn a message  6 deliveries after which a lapse blames a message that was not seen started
--       7 error line for the blamed  8 byte limit of a message's error lines  9 ids that were started (concatenated; not in mode 'lapse')
-- Returns { code, now, ids, heads }: code 0 taken back, 1 nothing to take or not yet; ids and heads of messages that are
--       condemned: they stay held under the token, for the caller to dead-letter (one more death than allowed, or
--       at-most-once and started). A repeat condemns the same ones and counts nothing twice.
-- Blamed are messages that were started: crashes + 1, and from the second on they wait in alone. The others go back
-- unblamed to the front. At-most-once and marked as started counts as started, even if it does not run any more: that it
-- came to an end may not have been stored.
-- Checked before the first write: deadline, types. The first write frees memory.
local call, sub, byte, char = redis.call, string.sub, string.byte, string.char
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local token, crash, recall = ARGV[2], ARGV[3] == 'crash', ARGV[3] == 'recall'
local kinds = { 'hash', 'hash', 'hash', 'zset', 'hash', 'hash', 'list', 'hash', 'none', 'list', 'list', 'list', 'list', 'list', 'list', 'list' }
for i, kind in ipairs(kinds) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local deadline = tonumber(call('ZSCORE', KEYS[4], token))
if ARGV[3] == 'lapse' and (not deadline or deadline > now) then return { 1, now, '', '' } end
local blob, started = call('HGET', KEYS[5], token), {}
call('DEL', KEYS[9])
local shut = crash and 9007199254740992 or recall and not blob and struct.unpack('>I4', sub(token, 9, 12)) or 0
if shut > 0 and shut >= (tonumber(call('HGET', KEYS[1], 'lease')) or 0) then
  call('HSET', KEYS[1], 'lease', string.format('%.0f', shut))
  call('PEXPIRE', KEYS[1], ARGV[4])
end
for i = 1, #ARGV[9], 16 do started[sub(ARGV[9], i, i + 15)] = true end
if not blob then call('ZREM', KEYS[4], token) call('HDEL', KEYS[6], token) return { 1, now, '', '' } end
local condemned, heads, back, kept, recent = {}, {}, 0, 0, {}
for at = #blob - 15, 17, -16 do
  local id = sub(blob, at, at + 15)
  local record = call('HGET', KEYS[3], id)
  local ours = record and byte(record) == 108 and sub(record, 9, 28) == token
  if ours and bit.band(byte(record, 3), 4) > 0 then started[id] = true end
  if ours and recall and started[id] then
    kept = kept + 1
  elseif ours then
    local prio, flags, high, low, crashes, big, small = byte(record, 2, 8)
    local count, once = high * 256 + low, bit.band(flags, 4) > 0
    local blamed = started[id] or (ARGV[3] == 'lapse' and (bit.band(flags, 2) > 0 or count >= tonumber(ARGV[6])))
    local limit = tonumber(ARGV[5])
    if blamed and crashes < limit then
      crashes = crashes + 1
      local lines = call('HGET', KEYS[8], id)
      lines = (lines and lines .. '\n' or '') .. ARGV[7]
      if #lines > tonumber(ARGV[8]) then lines = string.gsub(sub(lines, -ARGV[8]), '^[^\n]*\n', '') end
      call('HSET', KEYS[8], id, lines)
      recent[#recent + 1] = 'k' .. id .. string.format('%013.0f', now) .. sub(ARGV[7], 1, 600)
    end
    if (once and blamed) or crashes >= limit then
      local head = char(108, prio, flags, high, low, once and limit or crashes, big, small)
      call('HSET', KEYS[3], id, head .. sub(record, 9))
      condemned[#condemned + 1], heads[#heads + 1], kept = id, head, kept + 1
    else
      if not blamed and ARGV[3] ~= 'lapse' then count = math.max(count - 1, 0) end
      flags, back = bit.band(flags, 121), back + 1
      if flags + count + crashes + big + small == 0 then
        call('HDEL', KEYS[3], id)
      else
        local head = char(114, prio, flags, math.floor(count / 256), count % 256, crashes, big, small)
        call('HSET', KEYS[3], id, head .. sub(record, 29))
      end
      call('LPUSH', crashes > 1 and KEYS[15] or KEYS[10 + prio], id)
    end
  end
end
if kept == 0 then
  call('ZREM', KEYS[4], token)
  call('HDEL', KEYS[5], token)
  call('HDEL', KEYS[6], token)
else
  call('HSET', KEYS[6], token, kept)
end
if #recent > 0 then call('HINCRBY', KEYS[2], 'crashed', #recent) end
if #recent > 0 then call('LPUSH', KEYS[16], unpack(recent)) call('LTRIM', KEYS[16], 0, 49) end
if back > 0 then
  call('HINCRBY', KEYS[2], 'reclaimed', back)
  if call('LLEN', KEYS[7]) == 0 then call('RPUSH', KEYS[7], '1') end
end
return { 0, now, table.concat(condemned), table.concat(heads) }
