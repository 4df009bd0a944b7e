-- KEYS[1]    sorted set of the delivery tags of unacked messages
-- KEYS[2]    hash of the unacked messages
-- KEYS[3...] lists
-- ARGV[1]  a tag
-- ARGV[2]  what the hash held for it when it was read
-- ARGV[3]  what is put on the lists in its place
-- ARGV[4]  LPUSH or RPUSH
-- Returns 1, or 0 when the hash holds something else by now: somebody else has moved or acknowledged it.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
for i = 3, #KEYS do
  -- Before it is removed, and alone: a transaction would go on to the removal although this is refused.
  local answer = redis.pcall(ARGV[4], KEYS[i], ARGV[3])
  if type(answer) == 'table' and answer.err then return answer end
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
