-- Part of a script: share(target, members, count, single, silent) gives `count` partitions to the members, so that
-- their numbers differ by one at most and as few as possible move; with `single` one member has them all. target:
-- partition -> member until now. Those who have most keep the larger shares, so nothing moves that could stay. Who is
-- silent keeps what it has, up to a share, and gets nothing new; if all are, none counts as silent.
local function share(target, members, count, single, silent)
  local fresh, held, free, awake = {}, {}, {}, 0
  for _, name in ipairs(members) do
    held[name] = {}
    if not silent[name] then awake = awake + 1 end
  end
  if awake == 0 then silent, awake = {}, #members end
  for p = count - 1, 0, -1 do
    local mine = target[p] and held[target[p]] or free
    mine[#mine + 1] = p
  end
  table.sort(members, function(a, b)
    if silent[a] ~= silent[b] then return silent[b] end
    if #held[a] ~= #held[b] then return #held[a] > #held[b] end
    return a < b
  end)
  local room, left = {}, count
  for i = awake + 1, #members do
    local name = members[i]
    room[name] = single and 0 or math.min(#held[name], math.ceil(count / #members))
    left = left - room[name]
  end
  for i = 1, awake do
    room[members[i]] = math.floor(left / awake) + (i <= left % awake and 1 or 0)
    if single then room[members[i]] = i == 1 and count or 0 end
  end
  for _, name in ipairs(members) do
    while #held[name] > room[name] do free[#free + 1] = table.remove(held[name]) end
  end
  for _, name in ipairs(members) do
    while #held[name] < room[name] do held[name][#held[name] + 1] = table.remove(free) end
    for _, p in ipairs(held[name]) do fresh[p] = name end
  end
  return fresh
end

-- uneven(target, owners, silent, me, fair) is whether shares have to be made anew though nobody came or went: what is
-- meant for a silent member and owned by nobody is taken out of target; `me` is to have `fair` of them, rounded down.
local function uneven(target, owners, silent, me, fair)
  local found, mine = false, 0
  for p, name in pairs(target) do
    if name == me then mine = mine + 1 end
    if silent[name] and not owners[p] then target[p], found = nil, true end
  end
  return found or mine < math.floor(fair)
end

-- settle(key, target, fresh, bell) stores a target, and rings the bell, if there is one, when it differs; returns it.
local function settle(key, target, fresh, bell)
  local moved = false
  for p in pairs(target) do
    if not fresh[p] then moved = redis.call('HDEL', key, p) end
  end
  for p, name in pairs(fresh) do
    if target[p] ~= name then moved = redis.call('HSET', key, p, name) end
  end
  if moved and bell then redis.call('XADD', bell, 'MAXLEN', 1, '*', 'moved', 1) end
  return fresh
end
