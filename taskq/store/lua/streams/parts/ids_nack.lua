-- The ids that a nack names.
local NUMBER, named = 'nack', {}
for at = 5, #ARGV, 5 do named[ARGV[at + 1]] = (named[ARGV[at + 1]] or 0) + 1 end
