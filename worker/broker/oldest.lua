-- Reads the oldest message of a list, which is the one at its end.
--
-- KEYS[1]  a list
-- Returns nil when it is empty, or when the message is longer than a message may be: no worker has checked it yet, and
-- it may be of any size.
local message = redis.pcall('LINDEX', KEYS[1], -1)
if type(message) == 'string' and #message <= 65536 then return message end
