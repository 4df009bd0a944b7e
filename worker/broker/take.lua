-- Takes the next message from the first list that holds one, and records it as unacked in the same step.
--
-- KEYS     lists. One of another type is skipped, and so is a list whose first message can't be moved to its dead
--          letters
-- ARGV[1]  hash of the unacked messages
-- ARGV[2]  sorted set of their delivery tags by the time of the take
-- ARGV[3]  now, UNIX seconds
-- ARGV[4]  one character for each key: "-" its messages are not recorded as unacked; "+" they are; "=" they are, and
--          the task must be the queue's name; "?" they are, and the task must be one of ARGV[7...]; messages of other
--          services stay in the list
-- ARGV[5]  what separates a queue's name from its priority in a key
-- ARGV[6]  the prefix of each key that is no part of the queue's name
-- ARGV[7...]  the tasks of commands
-- Returns 0, or {index of the key from 1, message, delivery tag, how many keys still hold something}. The tag is nil if
-- the message was not to be recorded. If the message was rejected and moved to <queue>.dead, the tag is empty, the
-- reason is in place of the message, and its task and id follow, where they are known.

-- How many keys hold something. Because this reads them, the server also notifies the connection when one is next
-- written to (CLIENT TRACKING covers what a script reads), so that nothing can arrive unnoticed after the check.
local watched = {unpack(KEYS)}
local function count_nonempty()
  return redis.call('EXISTS', unpack(watched))
end

-- Makes a write that must not fail: if the server refuses it, the message goes back to its list, and the error is
-- returned.
local function write_or_undo(key, raw, ...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    redis.call('RPUSH', key, raw)
    return answer
  end
end

local function string_or_empty(value)
  return type(value) == 'string' and value or ''
end

-- Why a message is rejected, or nil. Rules and texts are those of worker/broker/envelope_check.py.
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

-- Returns the delivery tag and the entry that is recorded for the message, in the form of kombu's QoS.append. The entry
-- holds the message unchanged, because decoding and encoding it again would turn 1.0 into 1 and [] into {}. It names the
-- anonymous exchange and the queue, so that the message is put back where it was taken from, whatever its sender wrote
-- into it and whoever may bind queues to an exchange.
local function unacked_entry(name, raw, message)
  local tag
  if message == nil then
    -- JSON that cjson can't read and Python can, for example with half a character (\ud800) in a header. The tag is
    -- found by its name, which no text inside the message can imitate: quotes are escaped there, and the body is
    -- base64.
    tag = raw:match('"delivery_tag"%s*:%s*"([^"\\]+)"')
  else
    local properties = type(message) == 'table' and message.properties
    tag = type(properties) == 'table' and properties.delivery_tag
    if type(tag) == 'number' and tag % 1 == 0 then tag = string.format('%.0f', tag) end
  end
  if type(tag) ~= 'string' or tag == '' then return end
  return tag, '[' .. raw .. ', "", ' .. cjson.encode(name) .. ']'
end

-- Whether a message is meant for these workers: it is a command, or one with a misspelt name. One that is too long for a
-- command is left to the other services, and not examined.
local function is_command(raw)
  if #raw > 65536 or not raw:find('"task"%s*:%s*"orders%.') then return false end
  local read, found = pcall(cjson.decode, raw)
  local headers = read and type(found) == 'table' and found.headers
  return not read or (type(headers) == 'table' and string_or_empty(headers.task):find('^orders%.') ~= nil)
end

-- The next command on a list that other services may use as well (Celery's default queue); their messages stay there.
-- Only the next hundred messages are searched, and no more than a mebibyte, because they may be of any size.
local function next_command(key)
  local bytes = 0
  for index = -1, -100, -1 do
    local raw = bytes < 1048576 and redis.pcall('LINDEX', key, index)
    if type(raw) ~= 'string' then return raw end
    bytes = bytes + #raw
    if is_command(raw) then
      redis.call('LREM', key, -1, raw)
      return raw
    end
  end
end

-- A key of another type than a list is skipped; its error is returned when no other key holds a message.
local wrong_type_error
local function unless_wrong_type(key, answer)
  if answer.err:sub(1, 9) ~= 'WRONGTYPE' then return answer end
  wrong_type_error = wrong_type_error or {err = answer.err .. ' (' .. key .. ')'}
end

-- A queue's name, and its key without a priority.
local function queue_of(key)
  local cut = key:find(ARGV[5], 1, true)
  local queue = cut and key:sub(1, cut - 1) or key
  return queue:sub(#ARGV[6] + 1), queue
end

local function has_lanes(i)
  return ARGV[4]:sub(i, i) == '=' and not KEYS[i]:find(ARGV[5], 1, true)
end

local ready = {}
for i, key in ipairs(KEYS) do
  if has_lanes(i) then ready[#ready + 1] = ARGV[6] .. 'orders.lanes.ready:' .. queue_of(key) end
end
for _, key in ipairs(ready) do watched[#watched + 1] = key end
if #ready > 0 and redis.call('EXISTS', unpack(ready)) > 0 then
  for i, key in ipairs(KEYS) do
    if has_lanes(i) then
      lanes.call_next(ARGV[6], queue_of(key), function(raw)
        local answer = redis.pcall('RPUSH', key, raw)
        return type(answer) == 'table' and answer.err and answer
      end)
    end
  end
end

-- Takes a message from one list. Returns the answer, or nil when it has none for now; and true when it is to be asked
-- again, because its message waits for its lane now.
local function take_from(i, key)
  local rule = ARGV[4]:sub(i, i)
  local raw
  if rule == '?' then raw = next_command(key) else raw = redis.pcall('RPOP', key) end
  if type(raw) == 'table' then return unless_wrong_type(key, raw) end
  if not raw then return end
  if rule == '-' then return {i, raw, false, count_nonempty()} end
  local name, queue = queue_of(key)
  local why, message, tag, entry
  if rule ~= '+' and #raw > 65536 then
    why = 'it is longer than 65536 bytes'
  else
    local read, found = pcall(cjson.decode, raw)
    message = read and found or nil
    why = rule ~= '+' and type(message) == 'table' and rejection_reason(rule, name, message)
    if not why then
      tag, entry = unacked_entry(name, raw, message)
      why = not tag and 'it has no delivery tag'
    end
  end
  if why then
    local headers = type(message) == 'table' and type(message.headers) == 'table' and message.headers or {}
    local answer = write_or_undo(key, raw, 'LPUSH', queue .. '.dead', raw)
    if not answer then
      return {i, why, '', count_nonempty(), string_or_empty(headers.task), string_or_empty(headers.id)}
    end
    return unless_wrong_type(queue .. '.dead', answer)
  end
  local lane, waits
  if rule == '=' then lane, waits = lanes.enter(ARGV[6], name, raw, message) end
  if waits then return nil, true end
  tag = lane and lanes.tag(lane, tag) or (tag:sub(1, 5) == 'lane:' and '+' or '') .. tag
  -- The sender chooses a message's tag, so that another message may have the same; its entry must not be replaced.
  while redis.pcall('HEXISTS', ARGV[1], tag) == 1 do tag = tag .. '+' end
  local refused = write_or_undo(key, raw, 'ZADD', ARGV[2], ARGV[3], tag)
    or write_or_undo(key, raw, 'HSET', ARGV[1], tag, entry)
  if refused then return refused end
  if lane then lanes.hold(ARGV[6], name, ARGV[1], lane, message, tag) end
  return {i, raw, tag, count_nonempty()}
end

local waiting_moved = 0
for i, key in ipairs(KEYS) do
  local answer, again
  repeat
    answer, again = take_from(i, key)
    if again then waiting_moved = waiting_moved + 1 end
  until not again or waiting_moved == 100
  if answer then return answer end
  if waiting_moved == 100 then break end
end
local nonempty = count_nonempty() -- also for the notification
if waiting_moved == 100 and nonempty > 0 then return {0, '', '', nonempty} end
return wrong_type_error or 0
