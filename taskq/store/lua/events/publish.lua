-- Append a batch of records to one partition, once per lane number, all or none.
-- KEYS  1 lane  2 log  3 meta  4-5 not used  6 versions  then, with an index, the lists of the keys of the batch
-- ARGV  1-4 as in parts/lane   5 a key whose version is raised by the number of records, or ''
--       6 the version it must have, '' for any
--       7 with an index, per record one byte: the place of its list among the KEYS from the seventh on, 0 for none
--       8 shape, one byte for all or one per record: 1 value, 2 key, 4 headers, 8 time; 64 packed
--       then per record what its shape says: value, key, headers, time; packed: count, block
-- Returns { code, answer }: 0 accepted, 1 gap (neither one of the last eight numbers nor the next), 2 stale (an older one),
--       3 the key has another version (the answer), 4 a newer publisher of that name is there (the answer is its epoch).
--       answer: id of the first entry; the others have the same time and the next sequences.
--       With a version it has that too, after the append
-- Checked before the first write: what parts/lane checks, version. The first write (XADD) frees nothing: a full server
-- must refuse to publish.
local version = ARGV[5] ~= '' and (call('HGET', KEYS[6], ARGV[5]) or '0')
if version and ARGV[6] ~= '' and version ~= ARGV[6] then return { 3, version } end
local index, shapes, all, at, count, entry = ARGV[7], ARGV[8], #ARGV[8] == 1, 9, 0, { 'XADD', KEYS[2], '', 'n', '' }
local shape = byte(shapes)
local value, key, headers, moment, packed = 0, 0, 0, 0, false
while at <= #ARGV do
  count = count + 1
  if count == 1 or not all then
    shape = byte(shapes, count)
    packed = shape >= 64
    value, key, headers, moment = shape % 2, math.floor(shape / 2) % 2, math.floor(shape / 4) % 2, math.floor(shape / 8) % 2
  end
  local size, bytes, records = 5, 0, 1
  if packed then
    entry[6], entry[7], entry[8], entry[9] = 'c', ARGV[at], 'b', ARGV[at + 1]
    size, bytes, records, at = 9, #ARGV[at + 1], tonumber(ARGV[at]), at + 2
  else
    if value == 1 then entry[6], entry[7], bytes, size, at = 'v', ARGV[at], #ARGV[at], 7, at + 1 end
    if key == 1 then
      entry[size + 1], entry[size + 2], bytes, size, at = 'k', ARGV[at], bytes + #ARGV[at], size + 2, at + 1
    end
    if headers == 1 then entry[size + 1], entry[size + 2], size, at = 'h', ARGV[at], size + 2, at + 1 end
    if moment == 1 then entry[size + 1], entry[size + 2], size, at = 't', ARGV[at], size + 2, at + 1 end
  end
  local refused = append(entry, size, records, bytes)
  if refused then return refused end
  local list = index ~= '' and byte(index, count) or 0
  if list > 0 then call('RPUSH', KEYS[6 + list], id) end
  if count == 1 and all and index == '' and value == 1 and headers + moment == 0 and not packed then
    count, at = count + append_plain(at, key == 1), #ARGV + 1
  end
end
if version then return finish(first .. ' ' .. call('HINCRBY', KEYS[6], ARGV[5], count)) end
return finish(first)
