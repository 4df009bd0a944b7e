-- Whether a message that was chosen to be taken goes elsewhere; read in front of take.lua.
--
-- Called with its queue's key, the decoded message (nil where cjson can't read it), the message as it was in the queue, and
-- its delivery tag. Returns true when it has put the message elsewhere, false when it has not, or the server's error, which
-- puts the message back.
local function diverted(queue, message, raw, tag)
  return false
end
