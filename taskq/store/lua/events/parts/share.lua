-- Part of a script: share(target, members, count, single) gives `count` partitions to the members, so that their numbers
-- differ by one at most and as few as possible move; with `single` one member has them all. target: partition -> member
-- until now. Those who have most keep the larger shares, so nothing moves that could stay.
local function share(target, members, count, single)
  local fresh, held, free = {}, {}, {}
  for _, name in ipairs(members) do held[name] = {} end
  for p = count - 1, 0, -1 do
    local mine = target[p] and held[target[p]] or free
    mine[#mine + 1] = p
  end
  table.sort(members, function(a, b)
    if #held[a] ~= #held[b] then return #held[a] > #held[b] end
    return a < b
  end)
  local room, base = {}, math.floor(count / math.max(#members, 1))
  for i, name in ipairs(members) do
    room[name] = base + (i <= count % #members and 1 or 0)
    if single then room[name] = i == 1 and count or 0 end
    while #held[name] > room[name] do free[#free + 1] = table.remove(held[name]) end
  end
  for _, name in ipairs(members) do
    while #held[name] < room[name] do held[name][#held[name] + 1] = table.remove(free) end
    for _, p in ipairs(held[name]) do fresh[p] = name end
  end
  return fresh
end
