-- What an ack names.
local NUMBER, BACK, runs, at = 'ack', false, {}, 8 + ARGV[7]
while at <= #ARGV do
  local ids = ARGV[at + 2]
  runs[#runs + 1] = { ARGV[at + 1], ids }
  at = at + 4 + (ARGV[at] == 'a' and 0 or 3 * #ids / 16)
end
