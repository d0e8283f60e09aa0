-- The ids that an ack names.
local NUMBER, named, at = 'ack', {}, 7
while at <= #ARGV do
  local ids = ARGV[at + 2]
  for place = 1, #ids, 16 do
    local id = string.sub(ids, place, place + 15)
    named[id] = (named[id] or 0) + 1
  end
  at = at + 3 + (ARGV[at] == 'a' and 0 or 3 * #ids / 16)
end
