-- What every script of a stream queue begins with: it wraps the verb of the same name of the lists.
-- KEYS  1 stream  2 entries  3 fresh  4 tally  5 steps  6 passed  7 body  8 state  then those of the verb, as its own
-- What the verb makes ready it pushes to fresh; from there it is appended to the stream. What is given back waits in a
-- ready list, and its entry stays pending. tally: appended and read count messages; last is the last entry read;
-- n and b are messages and bytes since the last step; big is the largest body that may be unread.
-- Checked before the first write: types of these keys, then all that the verb checks.
local call, own, GROUP = redis.call, { unpack(KEYS, 9) }, 'taskq'
for i, kind in ipairs({ 'stream', 'hash', 'list', 'hash', 'list', 'list', 'hash', 'hash' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end

-- What fresh holds becomes entries. A step is written for each 100 messages or 64 KiB: history goes by whole steps.
local function append()
  local ids, count, last = call('LRANGE', KEYS[3], 0, -1), 0, nil
  if #ids == 0 then return 0 end
  call('DEL', KEYS[3])
  local bodies, tally = call('HMGET', KEYS[7], unpack(ids)), call('HMGET', KEYS[4], 'n', 'b', 'big')
  local n, b, big = tonumber(tally[1]) or 0, tonumber(tally[2]) or 0, tonumber(tally[3]) or 0
  for i, id in ipairs(ids) do
    local body = bodies[i]
    if body then
      last = call('XADD', KEYS[1], '*', 'id', id, 'body', body)
      count, n, b, big = count + 1, n + 1, b + #body, math.max(big, #body)
      if n >= 100 or b >= 65536 then
        call('RPUSH', KEYS[5], last .. ' ' .. n .. ' ' .. b)
        n, b = 0, 0
      end
    end
  end
  call('HSET', KEYS[4], 'n', n, 'b', b, 'big', big)
  call('HINCRBY', KEYS[4], 'appended', count)
  return count, last
end

-- The entries of messages that are leased no more, or gone: delivered, for good.
local function settle(ids)
  if #ids == 0 then return end
  local entries, acks = call('HMGET', KEYS[2], unpack(ids)), {}
  for i = 1, #ids do
    if entries[i] and entries[i] ~= '-' then acks[#acks + 1] = entries[i] end
  end
  call('HDEL', KEYS[2], unpack(ids))
  if #acks > 0 then call('XACK', KEYS[1], GROUP, unpack(acks)) end
end
