-- Say where an ordered group stands in one partition.
-- KEYS  1 group  2 log  3 meta  4 parked  5 dead
-- ARGV  1 now in ms, or '' for the server's time
-- Returns { now, n, b, parked, letters, oldest, fields }: n and b are those of the last record of the partition; parked:
--       how many keys; letters: dead letters that are there; oldest: id of the first entry behind the position, or '' if
--       nothing is behind it; fields: at, n, b, owner, epoch, done, retried, dead, deaths, out_of_range, truncated
-- Values never leave the server, and of a group that is at the end not even the log is looked at. Writes nothing.
local call = redis.call
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local fields = call('HMGET', KEYS[1], 'at', 'n', 'b', 'owner', 'epoch', 'done', 'retried', 'dead', 'deaths', 'out_of_range',
  'truncated')
local meta, oldest = call('HMGET', KEYS[3], 'n', 'b'), ''
if (tonumber(meta[1]) or 0) > (tonumber(fields[2]) or 0) then
  -- A position inside a packed entry counts as its end: the age of what follows is all that is asked here.
  local at = string.match(fields[1] or '', '^[^:]+') or '0-0'
  local entry = call('XRANGE', KEYS[2], '(' .. at, '+', 'COUNT', 1)[1]
  oldest = entry and entry[1] or ''
end
for i = 1, 11 do fields[i] = fields[i] or '' end
return { now, meta[1] or '', meta[2] or '', call('ZCARD', KEYS[4]), call('XLEN', KEYS[5]), oldest, fields }
