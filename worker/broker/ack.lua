-- Removes messages that are done from the unacked messages.
--
-- KEYS[1]  sorted set of the delivery tags of unacked messages
-- KEYS[2]  hash of the unacked messages
-- ARGV     their delivery tags
for _, tag in ipairs(ARGV) do
  redis.call('ZREM', KEYS[1], tag)
  redis.call('HDEL', KEYS[2], tag)
end
