-- Read a range of a stream, in either direction, entry by entry, so that what one call reads is bounded.
-- KEYS  as parts/head.lua says
-- ARGV  1 first id of the range or '-'  2 last id or '+'  3 '1' to begin with the newest  4 at most so many entries
--       5 at most so many bytes, but one entry  6 how much of each body to answer with in bytes, or '' for all of it
-- Returns { now, next, rows }: next is the id of the entry at which to go on, '' if the range is read; a row is
--       { entry, place, id, size, body }: place is u unread, p pending (handed out, or given back), d delivered;
--       of an entry that is not ours id and body are empty
-- Writes nothing. Checked first: types.
local time, last = call('TIME'), call('HGET', KEYS[4], 'last')
local from, to, newest = ARGV[1], ARGV[2], ARGV[3] == '1'
local most, room, head = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local rows, bytes, next, largest = {}, 0, '', nil
local function add(entry, fields, size)
  local ours = fields[1] == 'id' and #fields[2] == 16 and fields[3] == 'body'
  local place = 'd'
  if not last or after(entry, last) then
    place = 'u'
  elseif ours and known_entry(fields[2], call('HGET', KEYS[8], fields[2])) == wide(entry) then
    place = 'p'
  end
  local body = ours and fields[4] or ''
  if ours then size = #body end
  bytes = bytes + size
  rows[#rows + 1] = { entry, place, ours and fields[2] or '', size, head and string.sub(body, 1, head) or body }
end

-- By tens while bodies are small: the next one may be of any size.
while next == '' do
  local step = largest and largest <= 1000 and 10 or 1
  local reply = newest and call('XREVRANGE', KEYS[1], to, from, 'COUNT', step) or
    call('XRANGE', KEYS[1], from, to, 'COUNT', step)
  for _, item in ipairs(reply) do
    local size = 0
    for _, part in ipairs(item[2]) do size = size + #part end
    if #rows > 0 and (#rows >= most or bytes + size > room) then
      next = item[1]
      break
    end
    add(item[1], item[2], size)
    largest = math.max(largest or 0, size)
    if newest then to = '(' .. item[1] else from = '(' .. item[1] end
  end
  if #reply < step then break end
end
return { time[1] * 1000 + math.floor(time[2] / 1000), next, rows }
