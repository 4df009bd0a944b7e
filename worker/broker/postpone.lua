-- Has an unacked message put back on its queue at a time, as if its visibility timeout passed then.
--
-- KEYS[1]  sorted set of the delivery tags of unacked messages
-- KEYS[2]  hash of the unacked messages
-- ARGV[1]  its delivery tag
-- ARGV[2]  its new tag
-- ARGV[3]  its new time in the sorted set
-- Returns 1, or 0 when another worker has moved or acknowledged it.
local entry = redis.call('HGET', KEYS[2], ARGV[1])
if not entry then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], entry)
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
