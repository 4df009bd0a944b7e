"""The scripts with which a worker takes and acknowledges a message; each runs on the server, in one step."""

from __future__ import annotations

from hashlib import sha1

__all__ = ["ACK", "ACK_SHA", "SHA", "TAKE"]

TAKE = """
-- KEYS     lists; the first that holds a message is taken from
-- ARGV[1]  hash of the unacked messages
-- ARGV[2]  sorted set of their delivery tags by the time of the take
-- ARGV[3]  now, UNIX seconds
-- ARGV[4]  "1" or "0" for each key: whether its messages are recorded as unacked
-- ARGV[5]  what separates a queue's name from its priority in a key
-- Returns 0, or {index of the key from 1, message, delivery tag, how many keys still hold something}: the tag is nil if
-- the message was not to be recorded, and empty if it carries none, in which case it is on the list <queue>.dead.

-- How many keys hold something. Reading them is also asking to be told when one is next written to: the server tracks
-- for the connection what a script of it reads (CLIENT TRACKING), so that nothing can arrive unseen after the look.
local function left()
  return redis.call('EXISTS', unpack(KEYS))
end

-- Makes a write that must not fail: if it is refused, the message goes back to where it was.
local function refused(key, raw, ...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    redis.call('RPUSH', key, raw)
    return answer
  end
end

-- Returns the delivery tag and what kombu's QoS.append keeps for the message. The message goes in as it came, because
-- decoding and encoding it again would turn 1.0 into 1 and [] into {}.
local function addressed(key, raw)
  local read, message = pcall(cjson.decode, raw)
  if not read then
    -- JSON that only cjson can't read, with half a character (\\ud800) in a header, say. The tag is found by its name,
    -- which no text inside the message can imitate: there its quotes are escaped, and the body is base64. The message
    -- would be put back by the anonymous exchange, straight onto its queue.
    local tag = raw:match('"delivery_tag"%s*:%s*"([^"\\\\]+)"')
    return tag, tag and '[' .. raw .. ', "", ' .. cjson.encode(key) .. ']'
  end
  local properties = read and type(message) == 'table' and message.properties
  if type(properties) ~= 'table' then return end
  local tag, info = properties.delivery_tag, properties.delivery_info
  if type(tag) == 'number' and tag % 1 == 0 then tag = string.format('%.0f', tag) end
  if type(tag) ~= 'string' or tag == '' then return end
  if type(info) ~= 'table' then info = {} end
  local exchange = type(info.exchange) == 'string' and info.exchange or ''
  local routing_key = type(info.routing_key) == 'string' and info.routing_key or key
  return tag, '[' .. raw .. ', ' .. cjson.encode(exchange) .. ', ' .. cjson.encode(routing_key) .. ']'
end

for i, key in ipairs(KEYS) do
  local raw = redis.call('RPOP', key)
  if raw then
    if ARGV[4]:sub(i, i) == '0' then return {i, raw, false, left()} end
    local cut = key:find(ARGV[5], 1, true)
    local queue = cut and key:sub(1, cut - 1) or key
    local tag, entry = addressed(queue, raw)
    if not tag then
      return refused(key, raw, 'LPUSH', queue .. '.dead', raw) or {i, raw, '', left()}
    end
    return refused(key, raw, 'ZADD', ARGV[2], ARGV[3], tag)
      or refused(key, raw, 'HSET', ARGV[1], tag, entry)
      or {i, raw, tag, left()}
  end
end
left()
return 0
"""
SHA = sha1(TAKE.encode(), usedforsecurity=False).hexdigest()

ACK = """
-- KEYS[1]  sorted set of the delivery tags of unacked messages
-- KEYS[2]  hash of the unacked messages
-- ARGV     the tags of those that are done
for _, tag in ipairs(ARGV) do
  redis.call('ZREM', KEYS[1], tag)
  redis.call('HDEL', KEYS[2], tag)
end
"""
ACK_SHA = sha1(ACK.encode(), usedforsecurity=False).hexdigest()
