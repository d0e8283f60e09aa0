-- What every script of a stream queue begins with: it wraps the verb of the same name of the lists.
-- KEYS  1 stream  2 entries  3 fresh  4 tally  5 steps  6 passed  7 body  8 state  9 held  then those of the verb alone
-- What the verb makes ready it pushes to fresh; from there it is appended to the stream. What is given back waits in a
-- ready list, and its entry stays pending. entries has the entries of a batch by its token, in the order of held, each
-- in 26 bytes, and that of what was given back by its id; dashes stand for none. In tally, appended and read count
-- messages, last is the last entry read, n and b count messages and bytes since the last step, big is the largest body
-- that may be unread.
-- Checked before the first write: types of these keys, then all that the verb checks.
local call, sub, own, GROUP, WIDE = redis.call, string.sub, { unpack(KEYS, 10) }, 'taskq', 26
local NONE = string.rep('-', WIDE)
for i, kind in ipairs({ 'stream', 'hash', 'list', 'hash', 'list', 'list', 'hash', 'hash', 'hash' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end

-- An entry in 26 bytes: zeros stand before both of its numbers, which the server reads over.
local function wide(entry)
  if string.byte(entry, 14) == 45 then
    return sub(entry, 1, 14) .. sub('000000000000', #entry - 13) .. sub(entry, 15)
  end
  local ms, seq = string.match(entry, '^(%d+)%-(%d+)$')
  return string.rep('0', 13 - #ms) .. ms .. '-' .. string.rep('0', 12 - #seq) .. seq
end

-- The id of the next entry. That of a stream which somebody has removed goes on behind what was read of the one before,
-- within the same millisecond too: the group begins there.
local function first_id(last)
  local ms, seq = string.match(last or '', '^(%d+)%-(%d+)$')
  if not ms or call('EXISTS', KEYS[1]) == 1 then return '*' end
  return tonumber(ms) < call('TIME')[1] * 1000 and '*' or string.format('%.0f-%.0f', ms, seq + 1)
end

-- What fresh holds becomes entries. A step is written for each 100 messages or 64 KiB: history goes by whole steps.
-- Bodies that the caller has at hand, by their ids, are not read again: each time that Lua is given a string it hashes
-- all of it, 1.4 ms for 1 MiB.
local function append(bodies)
  local ids, absent, count, last = call('LRANGE', KEYS[3], 0, -1), {}, 0, nil
  if #ids == 0 then return 0 end
  call('DEL', KEYS[3])
  bodies = bodies or {}
  for _, id in ipairs(ids) do absent[#absent + 1] = not bodies[id] and id or nil end
  for i, body in ipairs(#absent > 0 and call('HMGET', KEYS[7], unpack(absent)) or {}) do bodies[absent[i]] = body end
  local tally = call('HMGET', KEYS[4], 'n', 'b', 'big', 'doubt', 'last', 'appended')
  -- The tally, and not of these alone: watch counts anew what the stream holds.
  local lost = not tally[6] and call('XLEN', KEYS[1]) > 0 and call('HLEN', KEYS[7]) > #ids
  local n, b, big = tonumber(tally[1]) or 0, tonumber(tally[2]) or 0, tonumber(tally[3]) or 0
  for _, id in ipairs(ids) do
    local body = bodies[id]
    if body then
      last = call('XADD', KEYS[1], last and '*' or first_id(tally[5]), 'id', id, 'body', body)
      count, n, b, big = count + 1, n + 1, b + #body, math.max(big, #body)
      if n >= 100 or b >= 65536 then
        call('RPUSH', KEYS[5], last .. ' ' .. n .. ' ' .. b)
        n, b = 0, 0
      end
    end
  end
  call('HSET', KEYS[4], 'n', n, 'b', b, 'big', big)
  -- of a message with two entries that are unread the second may be taken for what a retry has appended behind them
  if tally[4] and last then call('HSET', KEYS[4], 'doubt', last) end
  if not lost then call('HINCRBY', KEYS[4], 'appended', count) end
  return count, last
end

-- How many stand before a message in the held of its batch; nil if it is not in that batch.
local function place_in(held, id)
  local at = string.find(held, id, 17, true)
  while at and at % 16 ~= 1 do at = string.find(held, id, at + 1, true) end
  return at and (at - 17) / 16
end

-- The entry of one message of a batch, by the batch's held and entries; nil if it is not in that batch.
local function entry_in(held, entries, id)
  local place = place_in(held, id)
  return place and sub(entries, place * WIDE + 1, place * WIDE + WIDE)
end

-- Delivered for good are what had been given back, by its ids.
local function settle(ids)
  local acks = {}
  for i, entry in ipairs(#ids > 0 and call('HMGET', KEYS[2], unpack(ids)) or {}) do
    if entry and entry ~= NONE then acks[#acks + 1] = entry end
  end
  if #ids > 0 then call('HDEL', KEYS[2], unpack(ids)) end
  if #acks > 0 then call('XACK', KEYS[1], GROUP, unpack(acks)) end
end
