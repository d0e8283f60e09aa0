-- Part of a script: read(count, waiting) takes up to that many unread messages, or 256 KiB of them; it answers { ids,
-- entries, unread, moved } or nil and the error; waiting are the ids that the lists hold. The caller leases
-- them, or keeps them at the end of a ready list. An entry that is not ours is counted and acknowledged. Where
-- messages may have two entries (after a repair, or if the group was set back) each is looked up first; what had been
-- read before does not count again. No more than 1,000 entries are looked at. As long as a large body may be unread, few
-- are read at a time, and at most a hundred times: the caller gets fewer.
local function read(count, waiting)
  local tally = call('HMGET', KEYS[4], 'big', 'last', 'appended', 'read', 'doubt', 'guess')
  local big, last, doubt, guess = tonumber(tally[1]) or 0, tally[2], tally[5], tally[6]
  local appended, done = tonumber(tally[3]) or 0, tonumber(tally[4]) or 0
  local ids, entries, acks, seen, n, bytes, foreign = {}, {}, {}, {}, 0, 0, 0
  local begun, dry, moved, careful, looked, reads = done, false, false, false, 0, 0
  for _, id in ipairs(waiting) do seen[id] = true end
  while n < count and bytes < 262144 and looked < 1000 and reads < 100 and not dry do
    local most = count - n
    reads = reads + 1
    if big > 1000 then most = math.max(math.min(most, math.floor((262144 - bytes) / big)), 1) end
    local reply = redis.pcall('XREADGROUP', 'GROUP', GROUP, GROUP, 'COUNT', most, 'STREAMS', KEYS[1], '>')
    if reply and reply.err then
      if not string.find(reply.err, 'NOGROUP', 1, true) then return nil, reply end
      last = found_group(last)
      reply = call('XREADGROUP', 'GROUP', GROUP, GROUP, 'COUNT', most, 'STREAMS', KEYS[1], '>')
    end
    local found = reply and reply[1][2] or {}
    dry, moved, looked = #found < most, moved or #found > 0, looked + #found
    local back = #found > 0 and last and not after(found[1][1], last)
    if back and not doubt then
      doubt = newest()
      call('HSET', KEYS[4], 'doubt', doubt)
    end
    careful = #found > 0 and (doubt or done + #found > appended)
    for _, item in ipairs(found) do
      local entry, fields, fit = item[1], item[2], false
      local id, body = fields[2], fields[4]
      local ours = body and #id == 16 and fields[3] == 'body' and fields[1] == 'id'
      local again = back and not after(entry, last)
      if not again then
        if ours then done = done + 1 else foreign = foreign + 1 end
        last = entry
      end
      if ours then
        fit = not careful or counts(entry, id)
        if fit then fit, seen[id] = not seen[id], true end
      end
      bytes = bytes + #(body or '')
      if fit then
        n = n + 1
        ids[n], entries[n] = id, entry
      elseif fit == false then
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
  elseif dry and big > 0 then
    call('HSET', KEYS[4], 'big', 0) -- not before a repair, which goes by it
  end
  if moved or done ~= begun then call('HSET', KEYS[4], 'read', done, 'last', last or '0-0') end
  local unread = careful and not dry and math.max(appended - done, 1) or appended - done
  return { ids = ids, entries = entries, unread = unread, moved = moved }
end
