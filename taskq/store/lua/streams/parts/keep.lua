-- Part of a script: what was read and is not leased waits at the end of a ready list, its entries kept by id.
local function keep(list, got)
  local sets = {}
  if #got.ids == 0 then return end
  for i, id in ipairs(got.ids) do sets[2 * i - 1], sets[2 * i] = id, wide(got.entries[i]) end
  call('RPUSH', list, unpack(got.ids))
  call('HSET', KEYS[2], unpack(sets))
end
