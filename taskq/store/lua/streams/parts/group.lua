-- Part of a script: the group of the stream, where it has been, and what its entries stand for.
local function after(one, other)
  local a, b = string.match(one, '^(%d+)%-'), string.match(other, '^(%d+)%-')
  if tonumber(a) ~= tonumber(b) then return tonumber(a) > tonumber(b) end
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

-- The group was made anew: what is leased or given back becomes pending again, some fields of entries at a time.
local function restore_some(cursor)
  local page = call('HSCAN', KEYS[2], cursor, 'COUNT', 10)
  for i = 1, #page[2], 2 do
    local field, blob, held, entries = page[2][i], page[2][i + 1], nil, {}
    if #field == 20 then held = call('HGET', KEYS[9], field) or '' end
    for at = 1, #blob, WIDE do
      local entry, place = sub(blob, at, at + WIDE - 1), 17 + (at - 1) / WIDE * 16
      local record = held and (call('HGET', KEYS[8], sub(held, place, place + 15)) or '')
      -- of a batch, only what its token still holds
      if entry ~= NONE and (not held or (sub(record, 1, 1) == 'l' and sub(record, 9, 28) == field)) then
        entries[#entries + 1] = entry
      end
    end
    if #entries > 0 then
      entries[#entries + 1], entries[#entries + 2] = 'FORCE', 'JUSTID'
      call('XCLAIM', KEYS[1], GROUP, GROUP, 0, unpack(entries))
    end
  end
  if page[1] == '0' then call('HDEL', KEYS[4], 'restore') else call('HSET', KEYS[4], 'restore', page[1]) end
end

-- Whether an entry stands for its message, which waits nowhere else; nil if it does already, and is pending.
local function counts(entry, id)
  local known, record = call('HGET', KEYS[2], id), call('HGET', KEYS[8], id)
  local kind = record and sub(record, 1, 1) or 'r'
  if kind == 'l' then
    local token = sub(record, 9, 28)
    local held, entries = call('HGET', KEYS[9], token), call('HGET', KEYS[2], token)
    known = held and entries and entry_in(held, entries, id) or NONE
  end
  if known == wide(entry) then return nil end
  return not known and (kind == 'c' or (kind == 'r' and call('HEXISTS', KEYS[7], id) == 1))
end

local function keep(list, got)
  local sets = {}
  if #got.ids == 0 then return end
  for i, id in ipairs(got.ids) do sets[2 * i - 1], sets[2 * i] = id, wide(got.entries[i]) end
  call('RPUSH', list, unpack(got.ids))
  call('HSET', KEYS[2], unpack(sets))
end
