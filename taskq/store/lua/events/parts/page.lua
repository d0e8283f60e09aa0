-- Part of a script: page(key, from, to, count, bytes) reads entries of a stream from an id on, so many and so large at most,
-- but one if there is any; answers them, and whether it stopped at a limit. How many it reads at once follows from the
-- largest so far, beginning with one.
local function page(key, from, to, count, bytes)
  local found, largest, size = {}, bytes, 0
  while true do
    local most = math.max(1, math.min(25, math.floor((bytes - size) / largest)))
    local some = redis.call('XRANGE', key, from, to, 'COUNT', most)
    for _, entry in ipairs(some) do
      local length = 0
      for _, part in ipairs(entry[2]) do length = length + #part end
      if #found == count or (#found > 0 and size + length > bytes) then return found, true end
      found[#found + 1], size, from = entry, size + length, '(' .. entry[1]
      largest = #found == 1 and length or math.max(largest, length)
    end
    if #some < most then return found, false end
  end
end
