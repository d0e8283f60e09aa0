-- Part of a script: table_of(key, name) is a hash as a table, its fields as name(field); heard(key, me, now, session,
-- sessions) answers of the other members: silent, who was not heard of for half a session of its own (name -> true);
-- outage, true if there are any and none was heard of for half a session of the caller; ends, name -> when its session
-- ends. sessions: name -> its session in ms, negative for one that is closing.
local function table_of(key, name)
  local flat, found = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do found[name(flat[i])] = flat[i + 1] end
  return found
end

local function heard(key, me, now, session, sessions)
  local flat, silent, ends, outage = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES'), {}, {}, nil
  for i = 1, #flat, 2 do
    local name, at = flat[i], tonumber(flat[i + 1])
    if name ~= me then
      local own = math.abs(tonumber(sessions[name]) or session)
      ends[name], silent[name] = at, at - own < now - own / 2 or nil
      outage = outage ~= false and at - own <= now - session / 2
    end
  end
  return silent, outage, ends
end

-- spare(key, ends, at) lets no session of the other members end before `at`.
local function spare(key, ends, at)
  for name, score in pairs(ends) do
    if score < at then redis.call('ZADD', key, at, name) end
    ends[name] = math.max(score, at)
  end
end
