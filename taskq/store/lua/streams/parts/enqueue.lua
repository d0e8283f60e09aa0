-- What the verb accepted is appended to the stream, with its body as it came.
-- Checked before the first write: nothing more.
local bodies = {}
for i = 6, #ARGV, ARGV[5] == '' and 3 or 2 do
  local id = ARGV[i]
  bodies[id] = bodies[id] == nil and ARGV[i + 1] -- of an id that is named twice, what is stored counts
end
local reply = verb(own, ARGV)
append(bodies)
return reply
