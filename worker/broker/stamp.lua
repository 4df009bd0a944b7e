-- Gives a time to unacked messages whose time is missing from the index or too far ahead. Each is looked at again, because it
-- may have been acknowledged since it was found, and would then stay in the index.
--
-- KEYS[1]  sorted set of the delivery tags of unacked messages
-- KEYS[2]  hash of the unacked messages
-- ARGV[1]  the time that they get, in UNIX seconds
-- ARGV[2]  the latest time that a message may have
-- ARGV[3...]  delivery tags
-- Returns how many have been given a time.
local count = 0
for at = 3, #ARGV do
  local tag = ARGV[at]
  local score = redis.call('ZSCORE', KEYS[1], tag)
  if redis.call('HEXISTS', KEYS[2], tag) == 0 then
    redis.call('ZREM', KEYS[1], tag)
  elseif not score or tonumber(score) > tonumber(ARGV[2]) then
    redis.call('ZADD', KEYS[1], ARGV[1], tag)
    count = count + 1
  end
end
return count
