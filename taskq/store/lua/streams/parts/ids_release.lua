-- What a release names; it has no call number, since repeated it finds no token.
local NUMBER, BACK, runs = nil, true, {}
for at = 2, #ARGV, 2 do runs[#runs + 1] = { ARGV[at], ARGV[at + 1] } end
