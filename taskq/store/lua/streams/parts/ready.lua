-- What the verb made ready is appended to the stream.
-- Checked before the first write: nothing more.
local reply = verb(own, ARGV)
if type(reply) ~= 'table' or not reply.err then append() end
return reply
