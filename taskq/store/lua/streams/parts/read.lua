-- Part of a script: read(count) takes up to that many unread messages, or 256 KiB of them; it answers { ids, entries,
-- bodies, unread, moved } or nil and the error. The caller leases them, or keep()s them: at the end of a ready list.
-- An entry that is not ours is counted and acknowledged. Where messages may have two entries (after a repair, or if the
-- group was set back) each is looked up first.
local function read(count)
  local tally = call('HMGET', KEYS[4], 'big', 'last', 'appended', 'read', 'doubt')
  local big, last, doubt = tonumber(tally[1]) or 0, tally[2], tally[5]
  local appended, done = tonumber(tally[3]) or 0, tonumber(tally[4]) or 0
  local ids, entries, bodies, acks, seen, n, bytes, foreign, begun, dry = {}, {}, {}, {}, {}, 0, 0, 0, done, false
  while n < count and bytes < 262144 and not dry do
    local most = count - n
    if big > 1000 then most = math.max(math.min(most, math.floor((262144 - bytes) / big)), 1) end
    local reply = redis.pcall('XREADGROUP', 'GROUP', GROUP, GROUP, 'COUNT', most, 'STREAMS', KEYS[1], '>')
    if reply and reply.err then
      if not string.find(reply.err, 'NOGROUP', 1, true) then return nil, reply end
      found_group(last)
      reply = call('XREADGROUP', 'GROUP', GROUP, GROUP, 'COUNT', most, 'STREAMS', KEYS[1], '>')
    end
    local found = reply and reply[1][2] or {}
    dry = #found < most
    local careful = #found > 0 and (doubt or done + #found > appended or (last and not after(found[1][1], last)))
    for _, item in ipairs(found) do
      local entry, fields = item[1], item[2]
      local id, body, fit = fields[2], fields[4], nil
      if body and fields[3] == 'body' and #id == 16 then
        done, bytes, fit = done + 1, bytes + #body, true
        if careful then fit = not seen[id] and counts(entry, id) end
        seen[id] = careful
      else
        foreign, fit = foreign + 1, false
      end
      if fit then
        n = n + 1
        ids[n], entries[n], bodies[n] = id, entry, body
      elseif fit == false then
        acks[#acks + 1] = entry
      end
      last = entry
    end
  end
  if doubt and last and after(last, doubt) then call('HDEL', KEYS[4], 'doubt') end
  if #acks > 0 then call('XACK', KEYS[1], GROUP, unpack(acks)) end
  if foreign > 0 then call('HINCRBY', KEYS[4], 'foreign', foreign) end
  local moved = done ~= begun
  if dry and done ~= appended then
    -- All is read: what is missing was taken away by others. Its bodies are still here, and repair appends them again.
    if done < appended then
      call('HINCRBY', KEYS[4], 'lost', appended - done)
      call('HSET', KEYS[4], 'repair', '0')
    end
    done = appended
  end
  if dry and big > 0 then call('HSET', KEYS[4], 'big', 0) end
  if done ~= begun or last ~= tally[2] then call('HSET', KEYS[4], 'read', done, 'last', last or '0-0') end
  return { ids = ids, entries = entries, bodies = bodies, unread = appended - done, moved = moved }
end
