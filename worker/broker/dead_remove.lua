-- Removes one dead letter, and puts it on its queue first where it is to be sent again: both or neither.
-- dead_digest.lua is read in front of this.
--
-- KEYS[1]  the list of dead letters
-- KEYS[2]  the queue; missing where the message is dropped
-- ARGV[1]  the message's digest
-- ARGV[2]  its index when it was looked at. Others have come in front of it or left since
-- ARGV[3]  how many bytes are read of a message as a whole
-- Returns 1, or 0 when it is not there.
local BEFORE, BEHIND = 100, 1000
local first = math.max(0, tonumber(ARGV[2]) - BEFORE)
for index = first, first + BEFORE + BEHIND do
  local message = redis.call('LINDEX', KEYS[1], index)
  if not message then return 0 end
  if digest(message, tonumber(ARGV[3])) == ARGV[1] then
    if KEYS[2] then
      -- Removes nothing; raises an error where the removal below would be refused, when the message is on its queue.
      redis.call('LREM', KEYS[1], 1, 'nothing:' .. ARGV[1])
      local answer = redis.pcall('LPUSH', KEYS[2], message)
      if type(answer) == 'table' and answer.err then return answer end
    end
    return redis.call('LREM', KEYS[1], 1, message)
  end
end
return 0
