-- Part of a script: what others removed beside the stream is set right.

-- Without its tally nobody knows what is unread: what the stream holds may be, until all has been read. Answers the
-- last entry read, how many may be unread, messages and bytes of the history; nothing if there is nothing to count.
local function count_anew()
  local size, last, messages, bytes = call('XLEN', KEYS[1]), nil, 0, 0
  if size == 0 or call('HLEN', KEYS[7]) == 0 then return end
  for _, info in ipairs(call('XINFO', 'GROUPS', KEYS[1])) do
    local at = {}
    for i = 1, #info, 2 do at[info[i]] = info[i + 1] end
    if at.name == GROUP then last = at['last-delivered-id'] end
  end
  for _, step in ipairs(call('LRANGE', KEYS[6], 0, -1)) do
    local n, b = string.match(step, '^%S+ (%d+) (%d+)')
    messages, bytes = messages + n, bytes + b
  end
  local unsure = { 'appended', size, 'read', 0, 'big', 262144, 'guess', 1, 'doubt', newest() }
  call('HSET', KEYS[4], 'passed', messages, 'bytes', bytes, unpack(unsure))
  if last then call('HSET', KEYS[4], 'last', last) end
  call('HINCRBY', KEYS[4], 'healed', 1)
  return { last, size, messages, bytes }
end

-- Whether a pending entry is that of a message which is held or was given back. If not, it would keep all behind it
-- from ever becoming history: it is named again, or acknowledged.
local function vouched(entry)
  local item = call('XRANGE', KEYS[1], entry, entry)[1]
  local id = item and item[2][2]
  local record = id and call('HGET', KEYS[8], id)
  local known = id and known_entry(id, record)
  local kind = record and sub(record, 1, 1) or 'r'
  local waits = kind == 'c' or (kind == 'r' and id and call('HEXISTS', KEYS[7], id) == 1)
  local token = kind == 'l' and sub(record, 9, 28)
  if known and known == wide(entry) and (waits or token) then return true end
  -- whoever took it from its list did not know of entries, if it is kept by id and waits no more
  if id and not waits then call('HDEL', KEYS[2], id) end
  local held = token and (known or NONE) == NONE and call('HGET', KEYS[9], token)
  local place = held and place_in(held, id)
  if place then
    local entries = call('HGET', KEYS[2], token) or string.rep(NONE, (#held - 16) / 16)
    local before = place * WIDE
    call('HSET', KEYS[2], token, sub(entries, 1, before) .. wide(entry) .. sub(entries, before + WIDE + 1))
  else
    call('XACK', KEYS[1], GROUP, entry)
  end
  return false
end

-- The oldest pending entry tells whether something is wrong; answers how many were set right.
local function audit(oldest)
  if vouched(oldest) then return 0 end
  local wrong = 1
  for _, one in ipairs(call('XPENDING', KEYS[1], GROUP, '-', '+', 100, GROUP)) do
    if not vouched(one[1]) then wrong = wrong + 1 end
  end
  return wrong
end
