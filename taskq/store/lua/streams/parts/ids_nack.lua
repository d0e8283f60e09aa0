-- What a nack names.
local NUMBER, BACK, runs = 'nack', false, {}
for at = 5, #ARGV, 6 do runs[#runs + 1] = { ARGV[at], ARGV[at + 1] } end
