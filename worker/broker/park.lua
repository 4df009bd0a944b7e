-- Parks an unacked message: it waits at the server until it is due, and keeps nobody's place.
--
-- KEYS[1]  sorted set of the delivery tags of unacked messages
-- KEYS[2]  hash of the unacked messages
-- KEYS[3]  the queue from which it was taken
-- ARGV[1]  its delivery tag
-- ARGV[2]  the message as it is to come again
-- ARGV[3]  in how many milliseconds it is due; or "" to put it in front of its group's messages at once
-- ARGV[4]  what it waits for
-- ARGV[5]  its group
-- Returns 1, or 0 when another worker has moved or acknowledged it. waiting.lua says where it is put.
local index, unacked, queue, tag, raw = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
-- First, because it writes and needs no memory: a server that is full then lets the rest of the script write too.
local next_due = redis.pcall('GETEX', queue .. '.parked.next')
next_due = type(next_due) == 'string' and tonumber(next_due)
if redis.call('HEXISTS', unacked, tag) == 0 then return 0 end
if ARGV[3] == '' then
  local refused = wait_in_group(queue, ARGV[5], raw, 'RPUSH')
  if refused then return refused end
else
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local due, messages, place = now + ARGV[3], queue .. '.parked.messages', tag
  -- The sender chooses a message's tag, and another may have been parked under the same.
  while redis.pcall('HEXISTS', messages, place) == 1 do place = place .. '+' .. time[2] end
  local record = string.format('%s %.0f %s\n', ARGV[4], now, ARGV[5]) .. raw
  local answer = redis.pcall('HSET', messages, place, record)
  if is_error(answer) then return answer end
  answer = redis.pcall('ZADD', queue .. '.parked', due, place)
  if is_error(answer) then
    redis.call('HDEL', messages, place)
    return answer
  end
  if not next_due or due < next_due then redis.pcall('SET', queue .. '.parked.next', string.format('%.0f', due)) end
end
redis.call('ZREM', index, tag)
redis.call('HDEL', unacked, tag)
return 1
