-- Part of a script: read(list, count) moves up to that many unread messages, or 256 KiB of them, to the end of a ready
-- list. Answers their ids, whether it read anything, the error if it could not, and whether the tally cannot tell if
-- more is unread. Their entries are pending from then on; entries names them by message. An entry that is not ours is
-- counted and acknowledged. Where messages may have two entries (after a repair, or a group set back) each is looked up
-- first; what had been read before does not count again.

-- Whether an entry stands for its message, which waits nowhere else.
local function counts(entry, id)
  local known, record = call('HGET', KEYS[2], id), call('HGET', KEYS[8], id)
  if known == entry then return nil end
  if known then return false end
  local kind = record and string.sub(record, 1, 1) or 'r'
  return kind == 'c' or (kind == 'r' and call('HEXISTS', KEYS[7], id) == 1)
end

local function read(list, count)
  local tally = call('HMGET', KEYS[4], 'big', 'last', 'appended', 'read', 'doubt', 'guess')
  local big, last, doubt, guess = tonumber(tally[1]) or 0, tally[2], tally[5], tally[6]
  local appended, done = tonumber(tally[3]) or 0, tonumber(tally[4]) or 0
  local landed, sets, acks, seen, bytes, foreign, moved = {}, {}, {}, {}, 0, 0, false
  local step, dry, careful = big > 1000 and math.max(1, math.floor(262144 / big)) or count, false, false
  while #landed < count and bytes < 262144 and not dry do
    local most = math.min(step, count - #landed)
    local reply = redis.pcall('XREADGROUP', 'GROUP', GROUP, GROUP, 'COUNT', most, 'STREAMS', KEYS[1], '>')
    if reply and reply.err then
      if not string.find(reply.err, 'NOGROUP', 1, true) then return landed, false, reply end
      last = found_group(last)
      reply = call('XREADGROUP', 'GROUP', GROUP, GROUP, 'COUNT', most, 'STREAMS', KEYS[1], '>')
    end
    local entries = reply and reply[1][2] or {}
    dry, moved = #entries < most, moved or #entries > 0
    local back = #entries > 0 and last and not after(entries[1][1], last)
    if back and not doubt then
      doubt = newest()
      call('HSET', KEYS[4], 'doubt', doubt)
    end
    careful = #entries > 0 and (doubt or done + #entries > appended)
    for _, item in ipairs(entries) do
      local entry, fields = item[1], item[2]
      local id, ours = fields[2], fields[1] == 'id' and #fields[2] == 16 and fields[3] == 'body'
      local again = back and not after(entry, last)
      if ours then bytes = bytes + #fields[4] end
      if not again then
        if ours then done = done + 1 else foreign = foreign + 1 end
        last = entry
      end
      local fit = ours and (not careful or (not seen[id] and counts(entry, id)))
      if fit then
        landed[#landed + 1], sets[#sets + 1], sets[#sets + 2], seen[id] = id, id, entry, careful
      elseif fit ~= nil then
        acks[#acks + 1] = entry
      end
    end
  end
  if doubt and (dry or (last and after(last, doubt))) then call('HDEL', KEYS[4], 'doubt') end
  if #acks > 0 then call('XACK', KEYS[1], GROUP, unpack(acks)) end
  if foreign > 0 then call('HINCRBY', KEYS[4], 'foreign', foreign) end
  if dry and (done ~= appended or guess) then
    -- All is read: what is missing was taken away by others. Its bodies are still here, and repair appends them again.
    if done < appended and not guess then call('HINCRBY', KEYS[4], 'lost', appended - done) end
    if done < appended or guess then call('HSET', KEYS[4], 'repair', '0') end
    if guess then call('HDEL', KEYS[4], 'guess') end
    done = appended
  end
  if dry and big > 0 then call('HSET', KEYS[4], 'big', 0) end
  if moved or done ~= (tonumber(tally[4]) or 0) then call('HSET', KEYS[4], 'read', done, 'last', last or '0-0') end
  if #landed > 0 then
    call('RPUSH', list, unpack(landed))
    call('HSET', KEYS[2], unpack(sets))
  end
  return landed, moved, nil, careful and not dry
end
