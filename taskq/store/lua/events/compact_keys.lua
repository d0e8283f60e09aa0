-- A page of a partition without its values: which record has which key.
-- KEYS  1 log
-- ARGV  1 first id, with '(' before it to begin behind it, or '-'   2 last id   3 how many entries   4 how many bytes
-- Returns per entry three elements: its id, v for a value, t for a tombstone or - for what has no key, and its key. At
--       least one entry, if there is one, and fewer than were asked for only at the end or at the limit of bytes
-- Checked before the first write: it writes nothing. In front of it: parts/page.
local found = {}
for _, entry in ipairs((page(KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])))) do
  local key, mark = false, 't'
  for i = 1, #entry[2], 2 do
    if entry[2][1] == 'n' and entry[2][i] == 'k' then key = entry[2][i + 1] elseif entry[2][i] ~= 'n' then mark = 'v' end
  end
  found[#found + 1], found[#found + 2], found[#found + 3] = entry[1], key and mark or '-', key or ''
end
return found
