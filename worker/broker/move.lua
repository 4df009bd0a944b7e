-- Moves an unacked message onto lists.
--
-- KEYS[1]    sorted set of the delivery tags of unacked messages
-- KEYS[2]    hash of the unacked messages
-- KEYS[3...] lists
-- ARGV[1]  its delivery tag
-- ARGV[2]  its entry in the hash when that was read
-- ARGV[3]  what is put on the lists
-- ARGV[4]  LPUSH or RPUSH
-- ARGV[5]  the group of a command: where such wait by group, it is put among its group's messages. Else ""
-- Returns 1, or 0 when the hash holds another entry by now: another worker has moved or acknowledged the message.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
for i = 3, #KEYS do
  -- Before the entry is removed, and checked: a transaction would go on to the removal although the push was refused.
  local has_groups = ARGV[5] ~= '' and redis.call('EXISTS', KEYS[i] .. '.waiting') == 1
  if not has_groups or wait_in_group(KEYS[i], ARGV[5], ARGV[3], ARGV[4]) then
    local answer = redis.pcall(ARGV[4], KEYS[i], ARGV[3])
    if is_error(answer) then return answer end
  end
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
