-- Tell everything about one message at one moment; writes nothing.
-- KEYS  1 body  2 state  3 results  4 errors  5 delayed  6 dead  7 quarantine  8 leases  9 results:due  10 progress
-- ARGV  1 id
-- Returns { now, record, body, result, lines, due, buried, deadline, kept, progress }; what is not there is ''
--       record: of the state hash, or one letter: r ready  o over (see its result)  ? nothing is known
--       due: of a delayed one; buried: since when it is dead or quarantined; deadline: of its lease; kept: until when its
--       result is there; all in ms
-- Checked before the first write: there is none.
local call, byte, sub = redis.call, string.byte, string.sub
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id = ARGV[1]
local record, body = call('HGET', KEYS[2], id) or '', call('HGET', KEYS[1], id) or ''
local result, due, buried, deadline = call('HGET', KEYS[3], id) or '', '', '', ''
if record == '' then
  record = body ~= '' and 'r' or result ~= '' and 'o' or '?'
end
local kind = byte(record)
if kind == 100 then
  due = call('ZSCORE', KEYS[5], id) or ''
elseif kind == 120 or kind == 113 then
  buried = call('ZSCORE', KEYS[kind == 120 and 6 or 7], id) or ''
elseif kind == 108 then
  deadline = call('ZSCORE', KEYS[8], sub(record, 9, 28)) or ''
end
local kept = result ~= '' and call('ZSCORE', KEYS[9], id) or ''
return {
  now, record, body, result, call('HGET', KEYS[4], id) or '', due, buried, deadline, kept, call('GET', KEYS[10]) or '',
}
