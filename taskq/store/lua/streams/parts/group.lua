-- Part of a script: where the group of a stream stands.
-- after(one, other): whether one entry is later than another.
local function after(one, other)
  local a, b = string.match(one, '^(%d+)%-'), string.match(other, '^(%d+)%-')
  if a ~= b then return tonumber(a) > tonumber(b) end
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
