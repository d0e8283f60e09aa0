-- What a park names; it has no call number, since repeated it finds no token.
local NUMBER, BACK, runs = nil, false, {}
for at = 2, #ARGV, 4 do runs[#runs + 1] = { ARGV[at], ARGV[at + 1] } end
