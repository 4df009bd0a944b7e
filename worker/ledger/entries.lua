-- Adds entries to the journal, and changes a hash in the same step.
--
-- KEYS[1]  the journal, a stream
-- KEYS[2]  the end of the journal's chain
-- KEYS[3]  the hash that changes
-- ARGV[1]  the entries as JSON: a list of flat lists of field and value
-- ARGV[2]  how the hash changes: HSET, HSETNX, HDEL, or nothing; or REMOVE, which takes a field and the value that it must
--          still have
-- ARGV[3…] what the change takes
--
-- Returns how many fields have changed. A removal of what is not there, and an HSETNX of what is, writes no entry.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local changed = 0
if ARGV[2] == 'REMOVE' then
  if redis.call('HGET', KEYS[3], ARGV[3]) ~= ARGV[4] then
    return 0
  end
  changed = redis.call('HDEL', KEYS[3], ARGV[3])
elseif ARGV[2] ~= '' then
  changed = redis.call(ARGV[2], KEYS[3], unpack(ARGV, 3))
  if ARGV[2] ~= 'HSET' and changed == 0 then
    return 0
  end
end
for _, fields in ipairs(cjson.decode(ARGV[1])) do
  add_entry(KEYS[1], KEYS[2], nil, now, fields)
end
return changed
