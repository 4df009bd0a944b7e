-- Reads the newest messages of a list, and of those that are longer than a message may be only the beginning: nobody has
-- checked how long they are. dead_digest.lua is read in front of this.
--
-- ARGV[1]  a list; no key of the script, because one who may only read it may not name it as a key (redis.io, ACL)
-- ARGV[2]  how many messages
-- ARGV[3]  how many bytes are read of a message as a whole
-- ARGV[4]  how many bytes are read of a longer one
-- ARGV[5]  the index of the first, from 0
-- Returns {size in bytes, message or its beginning, its digest, size, message, digest, …}.
local found, first = {}, tonumber(ARGV[5])
for index = first, first + tonumber(ARGV[2]) - 1 do
  local message = redis.call('LINDEX', ARGV[1], index)
  if not message then break end
  found[#found + 1] = #message
  found[#found + 1] = #message <= tonumber(ARGV[3]) and message or message:sub(1, tonumber(ARGV[4]))
  found[#found + 1] = digest(message, tonumber(ARGV[3]))
end
return found
