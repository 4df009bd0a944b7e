-- Lanes, for the scripts that this file is put in front of. Of a lane's commands one at a time is out; the others wait
-- at the server in the order in which they were taken. worker/broker/lanes.py has the keys and what they hold.
--
-- A message that is out of its lane has the delivery tag `lane:<lane> <tag>`, so that whoever removes it knows its lane.
local lanes = {}

local function lane_keys(prefix, lane)
  local key = prefix .. 'orders.lane:' .. lane
  return key, key .. '.waiting'
end

local function now_ms()
  local time = redis.call('TIME')
  return string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
end

local function id_of(message)
  local headers = type(message) == 'table' and message.headers
  local id = type(headers) == 'table' and headers.id
  return type(id) == 'string' and id ~= '' and id or nil
end

-- The name of the lane that a message asks for; nil for one that asks for none, or whose header makes none.
local function name_of(message)
  local name = id_of(message) and message.headers.orders_lane
  return type(name) == 'string' and #name <= 64 and name:find('^[!-~]+$') and name or nil
end

-- Called for a message that was taken. Returns its lane, and true if another command has that: the message then waits.
-- Returns nil where it has no lane, or where the lane can't be kept: workers refuse a command that asked for one then.
function lanes.enter(prefix, queue, raw, message)
  local name, id = name_of(message), id_of(message)
  if not name then return end
  local lane = account_of(raw) .. '/' .. name
  local key, waiting = lane_keys(prefix, lane)
  local held = redis.pcall('HMGET', key, 'id')
  if held.err then return end
  if not held[1] or held[1] == id then return lane, false end
  -- The list that can't be written to by whoever may not write to the queue comes first.
  local list = prefix .. queue .. '.lane:' .. lane
  local stored = redis.pcall('LPUSH', list, raw)
  if type(stored) ~= 'number' then return end
  local noted = redis.pcall('LPUSH', waiting, queue)
  if type(noted) == 'number' then return lane, true end
  redis.call('LPOP', list)
end

function lanes.tag(lane, tag)
  return 'lane:' .. lane .. ' ' .. tag
end

-- The tag of a message without a lane; senders choose tags, and may have chosen one that looks like a lane's.
function lanes.plain_tag(tag)
  return tag:sub(1, 5) == 'lane:' and '+' .. tag or tag
end

-- List of the lanes whose next command is of this queue and is to be called.
function lanes.ready_key(prefix, queue)
  return prefix .. 'orders.lanes.ready:' .. queue
end

-- Called for a message that is delivered, with its final tag: its command holds the lane from now on. The same id may
-- come more than once. While the message that has the lane is out, another one does not replace it; `shared` says that
-- one has, so that the end of a message that never was a command's releases nothing.
function lanes.hold(prefix, queue, unacked, lane, message, tag)
  local key = lane_keys(prefix, lane)
  local held = redis.call('HMGET', key, 'id', 'tag')
  if held[1] and held[2] and held[2] ~= '' and redis.call('HEXISTS', unacked, held[2]) == 1 then return end
  local headers, now = message.headers, now_ms()
  local at = type(headers.enqueued_at) == 'number' and headers.enqueued_at or 0
  redis.call('HSET', key, 'id', headers.id, 'tag', tag, 'queue', queue,
    'at', at > 0 and at < 1e15 and string.format('%.0f', at) or '0',
    'unknown', headers.orders_lane_unknown == 'pass' and 'pass' or 'hold')
  redis.call('HSETNX', key, 'since', now)
  redis.call('HINCRBY', key, 'takes', 1)
  if held[2] and held[2] ~= '' and held[2] ~= tag then redis.call('HSET', key, 'shared', '1') end
  redis.pcall('ZADD', prefix .. 'orders.lanes', now, lane)
end

-- Has the next take of a queue call the lane's next command. It may be noted already.
function lanes.call(prefix, lane, queue)
  local ready = lanes.ready_key(prefix, queue or '')
  redis.pcall('LREM', ready, 0, lane)
  redis.pcall('LPUSH', ready, lane)
end

-- The queue of a message that waits although nothing says so, should anybody have deleted that key; or nil. QUEUES is put in
-- front of this text (scripts.py).
local function queue_left_behind(prefix, lane)
  for _, queue in ipairs(QUEUES) do
    local length = redis.pcall('LLEN', prefix .. queue .. '.lane:' .. lane)
    if type(length) == 'number' and length > 0 then return queue end
  end
end

-- The lane goes on: its next command is called, or the lane ends.
function lanes.go_on(prefix, lane)
  local key, waiting = lane_keys(prefix, lane)
  local queue, now = redis.pcall('RPOP', waiting), now_ms()
  if type(queue) ~= 'string' then queue = queue_left_behind(prefix, lane) end
  redis.call('DEL', key)
  if type(queue) ~= 'string' then
    redis.pcall('ZREM', prefix .. 'orders.lanes', lane)
    return
  end
  redis.call('HSET', key, 'id', '', 'tag', '', 'queue', queue, 'since', now)
  redis.pcall('ZADD', prefix .. 'orders.lanes', now, lane)
  lanes.call(prefix, lane, queue)
end

-- A message of a lane, from its text or from its entry among the unacked ones.
local function read_message(text)
  local read, found = pcall(cjson.decode, text)
  return read and type(found) == 'table' and (found[1] or found) or {}
end

-- Moves the next messages of lanes that go on, as long as they are of this queue, to where they are taken next:
-- `put_first` is called with each, and returns an error or nil.
function lanes.call_next(prefix, queue, put_first)
  local ready = lanes.ready_key(prefix, queue)
  for _ = 1, 100 do
    local lane = redis.pcall('RPOP', ready)
    if type(lane) ~= 'string' then return end
    local key, list = lane_keys(prefix, lane), prefix .. queue .. '.lane:' .. lane
    local held = redis.pcall('HMGET', key, 'id', 'queue')
    if held[1] == '' and held[2] == queue then
      local raw = redis.pcall('LINDEX', list, -1)
      local message = type(raw) == 'string' and read_message(raw)
      local id = id_of(message)
      if not id then
        redis.pcall('RPOP', list)
        lanes.go_on(prefix, lane)
      else
        local refused = put_first(raw)
        if refused then
          redis.call('RPUSH', ready, lane)
          return refused
        end
        redis.call('RPOP', list)
        local tag = type(message.properties) == 'table' and message.properties.delivery_tag
        redis.call('HSET', key, 'id', id, 'tag', lanes.tag(lane, tostring(tag)))
      end
    end
  end
end

-- Called for a message that is removed from the unacked ones, with its entry there. `how` says what became of it:
-- "ended", its command has its end; "kept", the command keeps its lane; "dead", it was no command.
function lanes.leave(prefix, tag, entry, how)
  local lane = tag:match('^lane:(%S+) ')
  if not lane or how == 'kept' then return end
  local held = redis.pcall('HMGET', lane_keys(prefix, lane), 'id', 'tag', 'shared')
  if held.err or not held[1] or held[1] == '' then return end
  local own = held[2] == tag
  if how == 'dead' then own = own and not held[3] end
  if how == 'ended' and entry and not own then
    own = id_of(read_message(entry)) == held[1]
  end
  if own then lanes.go_on(prefix, lane) end
end
