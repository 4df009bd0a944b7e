-- By what a dead letter is recognised: a SHA-1 over its size and itself, or the beginning of one that is longer than is read.
local function digest(message, read_bytes)
  return redis.sha1hex(#message .. ':' .. message:sub(1, read_bytes))
end

