-- KEYS[1]  a list
-- Returns the message at its end, the next to be taken; nil when there is none, or when it is longer than a message is.
local message = redis.pcall('LINDEX', KEYS[1], -1)
if type(message) == 'string' and #message <= 65536 then return message end
