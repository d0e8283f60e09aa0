-- One page of the dead letters or of the quarantine, the newest first; writes nothing.
-- KEYS  1 dead or quarantine  2 state  3 errors  4 body
-- ARGV  1 time in ms of the last one seen, '' to begin  2 how many of that time and older to skip  3 limit  4 byte limit
-- Returns { now, total, rows }: each row is id, time in ms, 8-byte head, its last error line, and if that names no task the
--       first bytes of its body (of a body too large to look into: ''). Rows of the time in ARGV 1 come again: the caller
--       knows which of them it has seen. A page ends early at the byte limit, after one row at least.
-- Checked before the first write: there is none.
local call, sub = redis.call, string.sub
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local start = ARGV[2] + (ARGV[1] == '' and 0 or call('ZCOUNT', KEYS[1], '(' .. ARGV[1], '+inf'))
local found = call('ZREVRANGE', KEYS[1], start, start + ARGV[3] - 1, 'WITHSCORES')
local rows, bytes, room = {}, 0, tonumber(ARGV[4])
for i = 1, #found, 2 do
  local id = found[i]
  local lines, head = call('HGET', KEYS[3], id) or '', call('HGET', KEYS[2], id) or ''
  -- anchored: without that, a line without a break is searched from each of its characters
  local line, start_of_body = string.match(lines, '^.*\n(.*)$') or lines, ''
  bytes = bytes + #lines
  -- quotes inside a JSON text are escaped, so this is the field and nothing that somebody wrote
  if not string.find(line, '"task":"', 1, true) then
    local size = call('HSTRLEN', KEYS[4], id)
    if size <= 65536 then
      bytes = bytes + size
      start_of_body = sub(call('HGET', KEYS[4], id) or '', 1, 300)
    end
  end
  rows[#rows + 1] = { id, found[i + 1], sub(head, 1, 8), line, start_of_body }
  if bytes > room then break end
end
return { now, call('ZCARD', KEYS[1]), rows }
