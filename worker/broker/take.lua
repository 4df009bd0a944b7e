-- KEYS     lists; the first that holds a message is taken from. A key of another type is passed over, and so is a list
--          whose first message can't be moved to its dead ones
-- ARGV[1]  hash of the unacked messages
-- ARGV[2]  sorted set of their delivery tags by the time of the take
-- ARGV[3]  now, UNIX seconds
-- ARGV[4]  a character for each key: "-" its messages are not recorded as unacked; "+" they are; "=" they are, and the
--          task must be the queue's name; "?" they are, and the task must be one of ARGV[7...];
--          what is no task of orders stays there
-- ARGV[5]  what separates a queue's name from its priority in a key
-- ARGV[6]  what stands before each key and is no part of the queue's name
-- Returns 0, or {index of the key from 1, message, delivery tag, how many keys still hold something}: the tag is nil if
-- the message was not to be recorded. Of one that is not taken up, and is on the list <queue>.dead now, it is empty; in
-- the message's place is then the reason, and its task and id follow, where they are known.

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

local function word(value)
  return type(value) == 'string' and value or ''
end

-- Why a message is not taken up. The rules, and these words, are those of worker/broker/envelope_check.py.
local encodings = {[''] = true, ['utf-8'] = true, ['utf8'] = true, ['us-ascii'] = true, ['ascii'] = true}
local function rejection_reason(rule, name, message)
  local headers = type(message.headers) == 'table' and message.headers or {}
  local task, compression, encoding = headers.task, headers.compression, message['content-encoding']
  if compression ~= nil and compression ~= cjson.null and compression ~= '' then return 'it is compressed' end
  local readable = type(encoding) == 'string' and encodings[encoding:lower()]
  if encoding ~= nil and encoding ~= cjson.null and not readable then
    return 'its content is encoded in another way than UTF-8'
  end
  if task == nil or task == cjson.null then return 'it names no task' end
  if rule == '=' then return task ~= name and "its task is not its queue's name" end
  for i = 7, #ARGV do
    if task == ARGV[i] then return end
  end
  return 'it is no command'
end

-- Returns the delivery tag and what kombu's QoS.append keeps for the message. The message goes in as it came, because
-- decoding and encoding it again would turn 1.0 into 1 and [] into {}.
local function addressed(name, raw, message)
  if message == nil then
    -- JSON that only cjson can't read, with half a character (\ud800) in a header, say. The tag is found by its name,
    -- which no text inside the message can imitate: there its quotes are escaped, and the body is base64. The message
    -- would be put back by the anonymous exchange, straight onto its queue.
    local tag = raw:match('"delivery_tag"%s*:%s*"([^"\\]+)"')
    return tag, tag and '[' .. raw .. ', "", ' .. cjson.encode(name) .. ']'
  end
  local properties = type(message) == 'table' and message.properties
  if type(properties) ~= 'table' then return end
  local tag, info = properties.delivery_tag, properties.delivery_info
  if type(tag) == 'number' and tag % 1 == 0 then tag = string.format('%.0f', tag) end
  if type(tag) ~= 'string' or tag == '' then return end
  if type(info) ~= 'table' then info = {} end
  local exchange = type(info.exchange) == 'string' and info.exchange or ''
  local routing_key = type(info.routing_key) == 'string' and info.routing_key or name
  return tag, '[' .. raw .. ', ' .. cjson.encode(exchange) .. ', ' .. cjson.encode(routing_key) .. ']'
end

-- Whether a message is meant for these workers: a command, or one misspelt.
local function ours(raw)
  if not raw:find('"task"%s*:%s*"orders%.') then return false end
  local read, found = pcall(cjson.decode, raw)
  local headers = read and type(found) == 'table' and found.headers
  return not read or (type(headers) == 'table' and word(headers.task):find('^orders%.') ~= nil)
end

-- The next command on a list that other services may use as well, their default queue: what is theirs stays there.
-- Looked for among the hundred that are next, and no further than a mebibyte, for they may be of any size.
local function next_command(key)
  local bytes = 0
  for place = -1, -100, -1 do
    local raw = bytes < 1048576 and redis.pcall('LINDEX', key, place)
    if type(raw) ~= 'string' then return raw end
    bytes = bytes + #raw
    if ours(raw) then
      redis.call('LREM', key, -1, raw)
      return raw
    end
  end
end

-- What is of another type than a list costs itself; whoever looks is told of it when no other key holds anything.
local spoilt
local function no_list(key, answer)
  if answer.err:sub(1, 9) ~= 'WRONGTYPE' then return answer end
  spoilt = spoilt or {err = answer.err .. ' (' .. key .. ')'}
end

for i, key in ipairs(KEYS) do
  local rule = ARGV[4]:sub(i, i)
  local raw
  if rule == '?' then raw = next_command(key) else raw = redis.pcall('RPOP', key) end
  if type(raw) == 'table' then
    local answer = no_list(key, raw)
    if answer then return answer end
  elseif raw then
    if rule == '-' then return {i, raw, false, left()} end
    local cut = key:find(ARGV[5], 1, true)
    local queue = cut and key:sub(1, cut - 1) or key
    local name = queue:sub(#ARGV[6] + 1)
    local why, message, tag, entry
    if rule ~= '+' and #raw > 65536 then
      why = 'it is longer than 65536 bytes'
    else
      local read, found = pcall(cjson.decode, raw)
      message = read and found or nil
      why = rule ~= '+' and type(message) == 'table' and rejection_reason(rule, name, message)
      if not why then
        tag, entry = addressed(name, raw, message)
        why = not tag and 'it has no delivery tag'
      end
    end
    if why then
      local headers = type(message) == 'table' and type(message.headers) == 'table' and message.headers or {}
      local answer = refused(key, raw, 'LPUSH', queue .. '.dead', raw)
      if not answer then return {i, why, '', left(), word(headers.task), word(headers.id)} end
      answer = no_list(queue .. '.dead', answer)
      if answer then return answer end
    else
      -- Whoever sends a message chooses its tag; no other message's record may be written over for that.
      while redis.pcall('HEXISTS', ARGV[1], tag) == 1 do tag = tag .. '+' end
      return refused(key, raw, 'ZADD', ARGV[2], ARGV[3], tag)
        or refused(key, raw, 'HSET', ARGV[1], tag, entry)
        or {i, raw, tag, left()}
    end
  end
end
left()
return spoilt or 0
