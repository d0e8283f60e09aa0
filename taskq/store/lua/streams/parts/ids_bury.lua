-- What a dead_letter names.
local NUMBER, BACK, runs = 'bury', false, {}
for at = 10, #ARGV, 7 do runs[#runs + 1] = { ARGV[at + 1], ARGV[at + 2] } end
