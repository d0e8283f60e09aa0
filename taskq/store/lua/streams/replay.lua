-- Enqueue one page of a replay and move its cursor, both or neither, unless somebody has moved it meanwhile.
-- KEYS  on a stream queue as parts/head.lua says; then those of enqueue (the lane is a fresh one), then 14 replayed
-- ARGV  1 now in ms or ''  2 cursor at which the page was read, '' at the beginning  3 cursor of the next page, '.' if
--       this was the last  4 entries of the page  5 those of them that are no messages  6 '1' if entries were trimmed
--       before they were read  7 for how long to remember it, in ms
--       then per message: the id that it had, and the id, body and spec of its copy, as enqueue takes them
-- Returns { code, cursor, looked, enqueued, already, skipped, lost }: 0 moved, 1 the cursor was elsewhere and nothing
--       was done, 4 this is a stream queue; then what the label has come to, with all its pages
-- replayed holds cursor and counts, and until it is over the id of each message that was enqueued: a message with
-- several entries is enqueued once. A repeat changes nothing, since the cursor has moved.
-- Checked before the first write: types, the cursor, all that enqueue checks. As an enqueue it is refused when full.
local kept, NAMES = own[14], { 'cursor', 'looked', 'enqueued', 'already', 'skipped', 'lost' }
local kind = call('TYPE', kept).ok
if kind ~= 'hash' and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. kept .. ' is a ' .. kind) end
local held = call('HMGET', kept, unpack(NAMES))
for i = 1, 6 do held[i] = held[i] or (i == 1 and '' or 0) end
local function told(code)
  local reply = { code, held[1] }
  for i = 2, 6 do reply[i + 1] = tonumber(held[i]) end
  return reply
end
if held[1] ~= ARGV[2] then return told(1) end

local args, marks, seen, bodies, fresh, again = { ARGV[1], 1, 1000, 0, '' }, {}, {}, {}, 0, 0
for i = 8, #ARGV, 4 do
  local source = ARGV[i]
  if seen[source] or call('HEXISTS', kept, source) == 1 then
    again = again + 1
  else
    seen[source] = true
    marks[#marks + 1], marks[#marks + 2] = source, ''
    args[#args + 1], args[#args + 2], args[#args + 3] = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    bodies[ARGV[i + 1]] = bodies[ARGV[i + 1]] == nil and ARGV[i + 2]
  end
end
if #marks > 0 then
  local reply = verb(own, args)
  if reply.err then return reply end
  if reply[1] ~= 0 then return told(reply[1]) end
  append(bodies)
  call('DEL', own[1]) -- the cursor does what a lane does
  for at = 1, #reply[2], 17 do
    if string.byte(reply[2], at) == 110 then fresh = fresh + 1 else again = again + 1 end
  end
end
local more = { ARGV[4], fresh, again, ARGV[5], ARGV[6] == '1' and 1 or 0 }
held[1] = ARGV[3]
for i = 1, 5 do held[i + 1] = tonumber(held[i + 1]) + tonumber(more[i]) end
if held[1] == '.' then call('UNLINK', kept) elseif #marks > 0 then call('HSET', kept, unpack(marks)) end
for i = 1, 6 do call('HSET', kept, NAMES[i], held[i]) end
call('PEXPIRE', kept, ARGV[7])
return told(0)
