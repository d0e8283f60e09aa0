-- Part of a script: read(list, count) moves up to that many unread messages, or 256 KiB of them, to the end of a ready
-- list; it answers with their ids, whether it read anything, and the error if it could not. Their entries are pending from then on; entries names them by message. An entry that is not ours is counted and
-- acknowledged. Where messages may have two entries (after a repair, or a group set back) each is looked up first.
local function after(one, other)
  local a, b = string.match(one, '^(%d+)%-'), string.match(other, '^(%d+)%-')
  if a ~= b then return tonumber(a) > tonumber(b) end
  return tonumber(string.match(one, '%-(%d+)$')) > tonumber(string.match(other, '%-(%d+)$'))
end

-- Makes the group; where it had been, so that what is unread stays unread.
local function found_group(last)
  local info, newest = redis.pcall('XINFO', 'STREAM', KEYS[1]), '0-0'
  for i = 1, info.err and 0 or #info, 2 do
    if info[i] == 'last-generated-id' then newest = info[i + 1] end
  end
  if not last or after(last, newest) then last = '0-0' end
  redis.pcall('XGROUP', 'CREATE', KEYS[1], GROUP, last, 'MKSTREAM')
  if call('EXISTS', KEYS[4]) == 1 then
    call('HINCRBY', KEYS[4], 'healed', 1)
    call('HSET', KEYS[4], 'restore', '0')
  end
end

-- Whether an entry stands for its message, which waits nowhere else.
local function counts(entry, id)
  local known, record = call('HGET', KEYS[2], id), call('HGET', KEYS[8], id)
  if known == entry then return nil end
  if known then return false end
  local kind = record and string.sub(record, 1, 1) or 'r'
  return kind == 'c' or (kind == 'r' and call('HEXISTS', KEYS[7], id) == 1)
end

local function read(list, count)
  local tally = call('HMGET', KEYS[4], 'big', 'last', 'appended', 'read', 'doubt')
  local big, last, doubt = tonumber(tally[1]) or 0, tally[2], tally[5]
  local appended, done = tonumber(tally[3]) or 0, tonumber(tally[4]) or 0
  local landed, sets, acks, seen, bytes, foreign, begun, dry = {}, {}, {}, {}, 0, 0, done, false
  local step = big > 1000 and math.max(1, math.floor(262144 / big)) or count
  while #landed < count and bytes < 262144 and not dry do
    local most = math.min(step, count - #landed)
    local reply = redis.pcall('XREADGROUP', 'GROUP', GROUP, GROUP, 'COUNT', most, 'STREAMS', KEYS[1], '>')
    if reply and reply.err then
      if not string.find(reply.err, 'NOGROUP', 1, true) then return landed, false, reply end
      found_group(last)
      reply = call('XREADGROUP', 'GROUP', GROUP, GROUP, 'COUNT', most, 'STREAMS', KEYS[1], '>')
    end
    local entries = reply and reply[1][2] or {}
    dry = #entries < most
    local careful = #entries > 0 and (doubt or done + #entries > appended or (last and not after(entries[1][1], last)))
    for _, item in ipairs(entries) do
      local entry, fields = item[1], item[2]
      local id, ours = fields[2], fields[1] == 'id' and #fields[2] == 16 and fields[3] == 'body'
      if ours then done, bytes = done + 1, bytes + #fields[4] else foreign = foreign + 1 end
      local fit = ours and (not careful or (not seen[id] and counts(entry, id)))
      if fit then
        landed[#landed + 1], sets[#sets + 1], sets[#sets + 2], seen[id] = id, id, entry, careful
      elseif fit ~= nil then
        acks[#acks + 1] = entry
      end
      last = entry
    end
  end
  if doubt and last and after(last, doubt) then call('HDEL', KEYS[4], 'doubt') end
  if #acks > 0 then call('XACK', KEYS[1], GROUP, unpack(acks)) end
  if foreign > 0 then call('HINCRBY', KEYS[4], 'foreign', foreign) end
  if dry and done ~= appended then
    -- All is read: what is missing was taken away by others. Its bodies are still here, and repair appends them again.
    if done < appended then
      call('HINCRBY', KEYS[4], 'lost', appended - done)
      call('HSET', KEYS[4], 'repair', '0')
    end
    done = appended
  end
  if dry and big > 0 then call('HSET', KEYS[4], 'big', 0) end
  if done ~= begun then call('HSET', KEYS[4], 'read', done, 'last', last or '0-0') end
  if #landed > 0 then
    call('RPUSH', list, unpack(landed))
    call('HSET', KEYS[2], unpack(sets))
  end
  return landed, done ~= begun
end
