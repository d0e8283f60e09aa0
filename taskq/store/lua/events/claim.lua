-- Become the owner of a partition for a group: from then on nobody else can commit.
-- KEYS  1 group  2 log  3 meta  4 marks  5 parked  6 none
-- ARGV  1 now in ms, or '' for the server's time   2 epoch   3 nonce of the owner's start   4 its name
--       5 how many records it may have begun beyond the position
-- Returns { code, epoch, place, unclean, marks, parked }: code 0 claimed (a repeat too, unless it has left meanwhile),
--       1 refused: the stored epoch is not smaller, 2 the group has no position here yet. place: position, its number and
--       bytes, version of the state, until which number to be careful, last id of the log, from meta gone, gone_id, n, and
--       what a seek has left to unpark, or ''.
--       unclean 1 if the owner before died; marks: offset, mark ... of records that are in trouble; parked: how many keys
-- Checked before the first write: types, epoch, position. The first write frees memory.
local call = redis.call
for i, kind in ipairs({ 'hash', 'stream', 'hash', 'hash', 'zset' }) do
  local found = call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local epoch, nonce = tonumber(ARGV[2]), ARGV[3]
local stored = call('HMGET', KEYS[1], 'epoch', 'nonce', 'owner', 'at', 'n', 'b', 'version', 'careful', 'span', 'void')
local current, again = tonumber(stored[1]) or 0, stored[2] == nonce and stored[1] == ARGV[2] and stored[3] ~= ''
if not again and epoch <= current then return { 1, current } end
if not stored[4] then return { 2, current } end

call('DEL', KEYS[6])
local n, careful = tonumber(stored[5]) or 0, tonumber(stored[8]) or 0
local unclean = (stored[3] or '') ~= '' and stored[2] ~= nonce
local marks = call('HGETALL', KEYS[4])
if unclean then
  careful = math.max(careful, n + (tonumber(stored[9]) or 0))
  for i = 2, #marks, 2 do -- a mark begins with 1 while its record is being handled, then deaths; so its owner died at it
    local deaths, rest = string.match(marks[i], '^1 (%d+)(.*)$')
    if deaths then
      marks[i] = '0 ' .. (deaths + 1) .. rest
      call('HSET', KEYS[4], marks[i - 1], marks[i])
    end
  end
  call('HINCRBY', KEYS[1], 'deaths', 1)
end
if not again then
  call('HSET', KEYS[1], 'epoch', ARGV[2], 'nonce', nonce, 'owner', ARGV[4], 'op', 0, 'careful', careful, 'span', ARGV[5])
end
local last, meta = '0-0', call('HMGET', KEYS[3], 'gone', 'gone_id', 'n')
if call('EXISTS', KEYS[2]) == 1 then
  local info = call('XINFO', 'STREAM', KEYS[2])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end
local place = { stored[4], n, tonumber(stored[6]) or 0, stored[7] or '0', careful, last }
for i = 1, 3 do place[6 + i] = meta[i] or '' end
place[10] = stored[10] or ''
return { 0, epoch, place, unclean and 1 or 0, marks, call('ZCARD', KEYS[5]) }
