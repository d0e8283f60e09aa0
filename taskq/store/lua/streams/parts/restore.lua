-- Part of a script: the group was made anew, so what is leased or given back becomes pending again, some fields of
-- entries at a time.
local function restore_some(cursor)
  local page = call('HSCAN', KEYS[2], cursor, 'COUNT', 3)
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
