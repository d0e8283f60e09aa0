-- Append a batch of records with ids given by their publisher: what is remembered under its id is not appended again.
-- KEYS  1 lane  2 log  3 meta  4 seen  5 seen:due  6 not used  then, with an index, the lists of the keys of the batch
-- ARGV  1-4 as in parts/lane   5 for how many ms an id is remembered   6 how many ids are remembered at most
--       7 with an index, per record one byte: the place of its list among the KEYS from the seventh on, 0 for none
--       8 shape per record: 1 value, 2 key, 4 headers, 8 time, 16 given id
--       then per record what its shape says: given id, value, key, headers, time
-- Returns { code, answer } as publish; the answer has the id of each entry, with '=' before what was there already.
-- Checked before the first write: what parts/lane checks. The first write (XADD) frees nothing.
-- In meta, forgotten and crowded count the ids that went since their time was over, or since there were too many.
local FIELDS = { { 1, 'v' }, { 2, 'k' }, { 4, 'h' }, { 8, 't' } }
local index, shapes, most, at, answers, new = ARGV[7], ARGV[8], tonumber(ARGV[6]), 9, {}, 0
for i = 1, #shapes do
  local shape, entry, bytes, given, known = byte(shapes, i), { 'XADD', KEYS[2], '', 'n', '' }, 0, nil, nil
  if shape >= 16 then
    given, at = ARGV[at], at + 1
    if (tonumber(call('ZSCORE', KEYS[5], given) or nil) or 0) > now then known = call('HGET', KEYS[4], given) end
  end
  for _, field in ipairs(FIELDS) do
    if shape % (field[1] * 2) >= field[1] then
      entry[#entry + 1], entry[#entry + 2] = field[2], ARGV[at]
      if field[1] <= 2 then bytes = bytes + #ARGV[at] end
      at = at + 1
    end
  end
  if known then answers[i] = '=' .. known else
    local refused = append(entry, #entry, 1, bytes)
    if refused then return refused end
    answers[i] = id
    local list = index ~= '' and byte(index, i) or 0
    if list > 0 then call('RPUSH', KEYS[6 + list], id) end
    if given then
      new = new + 1
      call('HSET', KEYS[4], given, id)
      call('ZADD', KEYS[5], now + ARGV[5], given)
    end
  end
end
if new > 0 then -- twice as many as came may go, so that a window which was made smaller is reached
  local old = call('ZRANGEBYSCORE', KEYS[5], '-inf', now, 'LIMIT', 0, 2 * new)
  local over, popped = math.min(call('ZCARD', KEYS[5]) - #old - most, 2 * new), {}
  if #old > 0 then
    call('ZREM', KEYS[5], unpack(old))
    call('HDEL', KEYS[4], unpack(old))
    call('HINCRBY', KEYS[3], 'forgotten', #old)
  end
  if over > 0 then
    for i, name in ipairs(call('ZPOPMIN', KEYS[5], over)) do if i % 2 == 1 then popped[#popped + 1] = name end end
    call('HDEL', KEYS[4], unpack(popped))
    call('HINCRBY', KEYS[3], 'crowded', #popped)
  end
end
return finish(table.concat(answers, ' '))
