-- Takes the next messages from the first queues that hold some, and records them as unacked in the same step. Before
-- that it puts back what was parked and is due. lanes.lua, groups.lua and waiting.lua are read in front of this.
--
-- A command queue is taken from in the order of arrival while it is short, nothing waits apart in groups, and no group is
-- blocked; else its arrivals are sorted by group, and the groups take turns.
--
-- KEYS     lists: the queues. One of another type is skipped, and so is a list whose first message can't be moved to its
--          dead letters. Behind them, the keys that say what waits beside the queues: before 7.2, CLIENT TRACKING covers
--          of what a script reads only the keys that it is called with
-- ARGV[1]  hash of the unacked messages
-- ARGV[2]  sorted set of their delivery tags by the time of the take
-- ARGV[3]  one character for each list: "-" its messages are not recorded as unacked; "+" they are; "=" they are, and
--          the task must be the queue's name; "?" they are, and the task must be one of QUEUES; messages of other
--          services stay in the list
-- ARGV[4]  how many queues there are: so many keys are those of priority 0, and their other priorities follow in turn
-- ARGV[5]  the prefix of each key that is no part of the queue's name
-- ARGV[6]  the groups that are told apart, each between blanks
-- ARGV[7]  now, UNIX seconds
-- ARGV[8]  1 to look for everything that may wait, also where another key should say so and does not; else 0
-- ARGV[9]  how many messages may be taken before nothing more is taken of a group, as JSON: {queue: {group: number}}, "*"
--          for a whole queue, "" for each group that is not named; may be empty. 0 blocks a group
-- ARGV[10] how many messages are taken at most: one where it comes from a list with "-" or "?"
-- Returns {what may still be taken: 0 for nothing, in how many ms a parked message is due or -1, 1 when messages of blocked
-- groups wait or else 0, 1 when something was due or else 0}, and for each message that was taken {index of its key from
-- 1, the message, its delivery tag}. The tag is nil if the message was not to be recorded. If the message was rejected
-- and moved to <queue>.dead, the tag is empty, the reason is in place of the message, and its task and id follow, where
-- they are known. An error is returned when nothing was taken; else the next take has it.

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
  for _, command in ipairs(QUEUES) do
    if task == command then return end
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

local MOST_DIVERTED = 50

local is_thorough, names, most = ARGV[8] == '1', ARGV[6], tonumber(ARGV[10])
local lists, waiting_keys, command_queues, is_command_queue, prefix = {}, {}, {}, {}, ARGV[5]
for _, command in ipairs(QUEUES) do is_command_queue[prefix .. command] = true end
local queue_count = tonumber(ARGV[4])
for i, key in ipairs(KEYS) do
  local kept = i <= #ARGV[3] and lists or waiting_keys
  kept[#kept + 1] = key
end
for i = 1, queue_count do
  local key = lists[i]
  if is_command_queue[key] and ARGV[3]:sub(i, i) ~= '-' then command_queues[#command_queues + 1] = key end
end

-- Of each command queue whether its messages wait by group; and of each queue how many messages may be taken, all in
-- all, before nothing more is taken of a group.
local in_groups, room, next_due, was_due = {}, {}, -1, 0
for name, groups in pairs(ARGV[9] ~= '' and cjson.decode(ARGV[9]) or {}) do room[prefix .. name] = groups end
local taken = {}

local function is_blocked(queue, group)
  local left = room[queue] and (room[queue][group] or (group ~= '*' and room[queue]['']))
  return left ~= nil and left ~= false and left <= #taken
end

local function has_blocked(queue)
  for _, left in pairs(room[queue] or {}) do
    if left <= #taken then return true end
  end
  return false
end

for _, queue in ipairs(command_queues) do
  local due, released = release_due(queue, is_thorough)
  if due and (next_due < 0 or due < next_due) then next_due = due end
  if released then was_due = 1 end
  if is_thorough then find_groups(queue, names) end
  in_groups[queue], room[queue] = false, room[queue] or {}
end
-- Because this reads the keys, the server notifies the connection when one is next written to (CLIENT TRACKING).
local is_any_waiting = #waiting_keys > 0 and redis.call('EXISTS', unpack(waiting_keys)) > 0
-- How many lists hold messages and were not looked into yet; those behind the last of them need not be.
local unseen = is_any_waiting and math.huge or redis.call('EXISTS', unpack(lists))
if unseen == 0 then return {0, next_due, 0, was_due} end
for _, queue in ipairs(is_any_waiting and command_queues or {}) do
  lanes.call_next(prefix, queue:sub(#prefix + 1), function(raw)
    return wait_in_group(queue, group_of(raw, names), raw, 'RPUSH')
  end)
  in_groups[queue] = in_groups[queue] or redis.call('EXISTS', queue .. '.waiting') == 1
end

-- The key of a queue, by the index of a key that is one of its priorities.
local function queue_of(i)
  return lists[(i - 1) % queue_count + 1]
end

-- The first part of what is returned; what is blocked counts as it was before anything was taken. It checks all keys, so
-- that nothing can arrive unnoticed after that: the server notifies the connection of the next write to each. Where all
-- that may be taken was, a list that other services use too has messages of theirs alone.
local function what_remains(is_all_taken)
  local count, held = redis.call('EXISTS', unpack(lists)), false
  taken = {}
  if count > 0 and (ARGV[9] ~= '' or is_all_taken) then
    local open, closed = {}, {}
    for i, key in ipairs(lists) do
      local keys = is_blocked(queue_of(i), '*') and closed or not (is_all_taken and ARGV[3]:sub(i, i) == '?') and open
      if keys then keys[#keys + 1] = key end
    end
    count = #open > 0 and redis.call('EXISTS', unpack(open)) or 0
    held = #closed > 0 and redis.call('EXISTS', unpack(closed)) > 0
  end
  -- The server does not tell of what this script itself has written to since it was read.
  if is_any_waiting then redis.call('EXISTS', unpack(waiting_keys)) end
  for _, queue in ipairs(command_queues) do
    if in_groups[queue] or has_blocked(queue) then
      local may_be_taken, is_held = what_waits(queue, is_blocked)
      local is_closed = is_blocked(queue, '*')
      if may_be_taken and not is_closed then count = count + 1 end
      held = held or is_held or (may_be_taken and is_closed)
    end
  end
  return count, next_due, held and 1 or 0, was_due
end

-- Hands out a message that was taken from a list; nil when it may not be taken, and its list is skipped.
local function hand_out(i, list, raw, done)
  local rule, queue = ARGV[3]:sub(i, i), queue_of(i)
  local name = queue:sub(#ARGV[5] + 1)
  local why, message, tag, entry
  if rule == '-' then return {i, raw, false} end
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
    local answer = write_or_undo(list, raw, 'LPUSH', queue .. '.dead', raw)
    if answer then return unless_wrong_type(queue .. '.dead', answer) end
    done()
    return {i, why, '', string_or_empty(headers.task), string_or_empty(headers.id)}
  end
  local lane, waits
  if in_groups[queue] ~= nil then lane, waits = lanes.enter(prefix, name, raw, message) end
  if waits then
    done()
    return 'diverted'
  end
  tag = lane and lanes.tag(lane, tag) or lanes.plain_tag(tag)
  -- The sender chooses a message's tag, so that another message may have the same; its entry must not be replaced.
  while redis.pcall('HEXISTS', ARGV[1], tag) == 1 do tag = tag .. '+' end
  local answer = write_or_undo(list, raw, 'ZADD', ARGV[2], ARGV[7], tag)
    or write_or_undo(list, raw, 'HSET', ARGV[1], tag, entry)
  if answer then return answer end
  if lane then lanes.hold(prefix, name, ARGV[1], lane, message, tag) end
  done()
  return {i, raw, tag}
end

local function nothing() end

-- The queues whose arrivals have been sorted.
local is_sorted = {}

-- The next message of a key: the message or an error, its list, and what to call when it is recorded.
local function choose(i, key)
  local queue = queue_of(i)
  if is_blocked(queue, '*') then return end
  if ARGV[3]:sub(i, i) == '?' then return next_command(key), key, nothing end
  if in_groups[queue] == false and has_blocked(queue) then in_groups[queue] = true end
  if in_groups[queue] == false and queue == key then
    local length = redis.pcall('LLEN', queue)
    if length == 0 then return end
    in_groups[queue] = not is_error(length) and length > FEW_ARRIVALS
  end
  if not in_groups[queue] then return redis.pcall('RPOP', key), key, nothing end
  unseen = math.huge
  if queue ~= key then return end
  if not is_sorted[queue] then
    local keys = {}
    for n = i, #lists, queue_count do keys[#keys + 1] = lists[n] end
    local raw, list = sort_arrivals(queue, keys, names)
    if is_error(raw) then raw = unless_wrong_type(list, raw) end
    if raw then return raw, list, nothing end
    is_sorted[queue] = true
  end
  return next_in_turn(queue, is_blocked, room[queue])
end

-- Takes from a key what may be taken. Returns true when the take is over, and the error if one ended it.
local count_diverted = 0
local function take_from(i, key)
  local is_seen = false
  while true do
    local raw, list, done = choose(i, key)
    if not raw then return end
    if not is_seen then is_seen, unseen = true, unseen - 1 end
    local result
    if is_error(raw) then result = unless_wrong_type(list, raw) else result = hand_out(i, list, raw, done) end
    if is_error(result) then return true, result end
    if type(result) == 'table' then
      taken[#taken + 1] = result
      -- A take that could not sort all arrivals may have left an account's first message among them.
      local is_single = not ARGV[3]:sub(i, i):find('[=+]') or is_sorting_over()
      if #taken >= most or is_single then return true end
    elseif result == 'diverted' then
      count_diverted = count_diverted + 1
      if count_diverted >= MOST_DIVERTED then return end
    else
      return
    end
  end
end

local is_over, refusal
for i, key in ipairs(lists) do
  is_over, refusal = take_from(i, key)
  if is_over or unseen == 0 then break end
end
local messages = taken
if refusal and #messages == 0 then return refusal end
local reply = {what_remains(not is_over)}
for n, message in ipairs(messages) do reply[4 + n] = message end
return #messages == 0 and wrong_type_error or reply
