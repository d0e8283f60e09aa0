-- The ids that a park names; it has no call number, since repeated it finds no token.
local NUMBER, named = nil, {}
for at = 2, #ARGV, 4 do named[ARGV[at + 1]] = (named[ARGV[at + 1]] or 0) + 1 end
