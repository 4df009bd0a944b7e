-- Removes messages that are done from the unacked messages. lanes.lua, which is put in front of this text, lets the lanes of
-- those go on that have one.
--
-- KEYS[1]  sorted set of the delivery tags of unacked messages
-- KEYS[2]  hash of the unacked messages
-- ARGV[1]  prefix of every key
-- ARGV[2...]  a delivery tag, and what became of its message (`lanes.leave`), for each
for at = 2, #ARGV, 2 do
  local tag = ARGV[at]
  local entry = tag:sub(1, 5) == 'lane:' and redis.call('HGET', KEYS[2], tag)
  redis.call('ZREM', KEYS[1], tag)
  redis.call('HDEL', KEYS[2], tag)
  lanes.leave(ARGV[1], tag, entry, ARGV[at + 1])
end
