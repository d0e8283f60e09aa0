-- Part of a script: the group of the stream, where it has been, and what its entries stand for.
-- after(one, other): whether one entry is later than another.
local function after(one, other)
  local a, b = tonumber(string.match(one, '^(%d+)%-')), tonumber(string.match(other, '^(%d+)%-'))
  if a ~= b then return a > b end
  return tonumber(string.match(one, '%-(%d+)$')) > tonumber(string.match(other, '%-(%d+)$'))
end

-- The newest entry that the stream has ever had.
local function newest()
  local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
  for i = 1, info.err and 0 or #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
  return '0-0'
end

-- Makes the group; where it had been, so that what is unread stays unread. Answers where that is.
local function found_group(last)
  if not last or after(last, newest()) then
    -- another stream: what was read of the one before says nothing about it
    if last then call('HSET', KEYS[4], 'last', '0-0') end
    last = '0-0'
  end
  redis.pcall('XGROUP', 'CREATE', KEYS[1], GROUP, last, 'MKSTREAM')
  if call('EXISTS', KEYS[4]) == 1 then
    call('HINCRBY', KEYS[4], 'healed', 1)
    call('HSET', KEYS[4], 'restore', '0')
  end
  return last
end

-- The entry by which a message is held or was given back, 26 bytes wide or NONE; nil if there is none.
local function known_entry(id, record)
  if not record or sub(record, 1, 1) ~= 'l' then return call('HGET', KEYS[2], id) end
  local token = sub(record, 9, 28)
  local held, entries = call('HGET', KEYS[9], token), call('HGET', KEYS[2], token)
  return held and entries and entry_in(held, entries, id)
end

-- Whether an entry stands for its message, which waits nowhere else; nil if it does already, and is pending.
local function counts(entry, id)
  local record = call('HGET', KEYS[8], id)
  local kind, known = record and sub(record, 1, 1) or 'r', known_entry(id, record)
  if known == wide(entry) then return nil end
  return not known and (kind == 'c' or (kind == 'r' and call('HEXISTS', KEYS[7], id) == 1))
end
