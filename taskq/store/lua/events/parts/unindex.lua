-- Part of a script: unindex(log, first) forgets, in the lists among KEYS from that place on, what is no longer in the log.
local call = redis.call
local function unindex(log, first)
  for i = first, #KEYS do
    local id = call('LINDEX', KEYS[i], 0)
    while id and #call('XRANGE', log, id, id) == 0 do
      call('LPOP', KEYS[i])
      id = call('LINDEX', KEYS[i], 0)
    end
  end
end
