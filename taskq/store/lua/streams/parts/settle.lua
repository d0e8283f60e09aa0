-- The verb ends leases: of all messages that it did not answer as lost, the entries are acknowledged (BACK: kept by id,
-- for they wait in a ready list); what it made ready is appended. The part before this one sets runs, { token, ids }
-- each, as ARGV names them, and NUMBER, the field of the call number, if the verb has one.
-- Checked before the first write: whether this is a repeat, which changes nothing.
local number = NUMBER and tonumber(ARGV[2])
if number and (tonumber(call('HGET', own[1], NUMBER)) or 0) >= number then return verb(own, ARGV) end
local batches, ids, entries, placed = {}, {}, {}, {}
for _, run in ipairs(runs) do
  local token, blob = run[1], run[2]
  if batches[token] == nil then
    local batch = { call('HGET', KEYS[9], token), call('HGET', KEYS[2], token) }
    batches[token] = batch[1] and batch[2] and batch
  end
  local batch = batches[token]
  local whole = batch and #blob + 16 == #batch[1] and blob == sub(batch[1], 17)
  for at = 1, batch and #blob or 0, 16 do
    local id, place = sub(blob, at, at + 15), (at - 1) / 16 * WIDE
    local entry = whole and sub(batch[2], place + 1, place + WIDE) or entry_in(batch[1], batch[2], id)
    local before = #runs > 1 and placed[id]
    if before then
      -- named with two tokens that both have had it: what counts is the entry under its present one
      local record = call('HGET', KEYS[8], id)
      if entry and record and sub(record, 9, 28) == token then entries[before] = entry end
    elseif entry then
      ids[#ids + 1], entries[#entries + 1] = id, entry
      placed[id] = #runs > 1 and #ids
    end
  end
end
local reply = verb(own, ARGV)
if reply.err then return reply end
if reply[3] ~= '' then
  -- what was named oftener than it was lost is ended
  local named, ended = {}, {}
  for _, run in ipairs(runs) do
    for at = 1, #run[2], 16 do
      local id = sub(run[2], at, at + 15)
      named[id] = (named[id] or 0) + 1
    end
  end
  for at = 1, #reply[3], 16 do
    local id = sub(reply[3], at, at + 15)
    named[id] = named[id] - 1
  end
  for i, id in ipairs(ids) do
    if named[id] > 0 then ended[id] = entries[i] end
  end
  ids, entries = {}, {}
  for id, entry in pairs(ended) do ids[#ids + 1], entries[#entries + 1] = id, entry end
end
local done = {}
for i, entry in ipairs(entries) do
  if BACK then
    done[2 * i - 1], done[2 * i] = ids[i], entry
  elseif entry ~= NONE then
    done[#done + 1] = entry
  end
end
if #done > 0 and BACK then call('HSET', KEYS[2], unpack(done)) end
if #done > 0 and not BACK then call('XACK', KEYS[1], GROUP, unpack(done)) end
for token, batch in pairs(batches) do
  if batch and call('HEXISTS', KEYS[9], token) == 0 then call('HDEL', KEYS[2], token) end
end
append()
return reply
