-- Lets a lane go on if it is still held as it was when it was looked at. lanes.lua is put in front of this text.
--
-- ARGV[1]  prefix of every key
-- ARGV[2]  hash of the unacked messages, with its prefix
-- ARGV[3]  lane
-- ARGV[4]  id, ARGV[5] tag and ARGV[6] number of takes that it was held with
-- ARGV[7]  "1" if its message is taken for lost: it must not be out
-- Returns whether it goes on.
local held = redis.pcall('HMGET', lane_keys(ARGV[1], ARGV[3]), 'id', 'tag', 'takes')
if held.err or held[1] ~= ARGV[4] or held[2] ~= ARGV[5] or (held[3] or '0') ~= ARGV[6] then return 0 end
if ARGV[7] == '1' and redis.call('HEXISTS', ARGV[2], ARGV[5]) == 1 then return 0 end
lanes.go_on(ARGV[1], ARGV[3])
return 1
