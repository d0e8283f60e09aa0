-- The ids that a dead_letter names.
local NUMBER, named = 'bury', {}
for at = 10, #ARGV, 6 do named[ARGV[at + 2]] = (named[ARGV[at + 2]] or 0) + 1 end
