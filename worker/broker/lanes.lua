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

local digits = {}
for value = 0, 63 do
  digits[('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'):byte(value + 1)] = value
end

local function decode_base64(text)
  local bytes = {}
  for at = 1, #text - 1, 4 do
    local a, b, c, d = text:byte(at, at + 3)
    a, b, c, d = digits[a], digits[b], c and digits[c], d and digits[d]
    if not (a and b) then break end
    local group = a * 262144 + b * 4096 + (c or 0) * 64 + (d or 0)
    local three = string.char(math.floor(group / 65536), math.floor(group / 256) % 256, group % 256)
    bytes[#bytes + 1] = three:sub(1, c and (d and 3 or 2) or 1)
    if not (c and d) then break end
  end
  return table.concat(bytes)
end

-- The account that a message's body names, in lower case; "?" where its first 4 KiB name none that could be an alias.
function lanes.account_of(message)
  local body = type(message.body) == 'string' and message.body or ''
  if type(message.properties) == 'table' and message.properties.body_encoding == 'base64' then
    body = decode_base64(body:sub(1, 5464))
  end
  local account = body:sub(1, 4096):match('"account"%s*:%s*"([^"\\]*)"') or ''
  return #account <= 64 and account:find('^[%w_-]+$') and account:lower() or '?'
end

-- The lane that a message belongs to, and its command's id; nil for one without a lane, or with a header that makes none.
local function lane_and_id(message)
  local headers = type(message) == 'table' and message.headers
  local name = type(headers) == 'table' and headers.orders_lane
  if type(name) ~= 'string' or #name > 64 or not name:find('^[!-~]+$') then return end
  if type(headers.id) ~= 'string' or headers.id == '' then return end
  return lanes.account_of(message) .. '/' .. name, headers.id
end

-- Called for a message that was taken. Returns its lane, and true if another command has that: the message then waits.
-- Returns nil where it has no lane, or where the lane can't be kept: workers refuse a command that asked for one then.
function lanes.enter(prefix, queue, raw, message)
  local lane, id = lane_and_id(message)
  if not lane then return end
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
  local ready = prefix .. 'orders.lanes.ready:' .. (queue or '')
  redis.pcall('LREM', ready, 0, lane)
  redis.pcall('LPUSH', ready, lane)
end

-- The lane goes on: its next command is called, or the lane ends.
function lanes.go_on(prefix, lane)
  local key, waiting = lane_keys(prefix, lane)
  local queue, now = redis.pcall('RPOP', waiting), now_ms()
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
  local ready = prefix .. 'orders.lanes.ready:' .. queue
  for _ = 1, 100 do
    local lane = redis.pcall('RPOP', ready)
    if type(lane) ~= 'string' then return end
    local key, list = lane_keys(prefix, lane), prefix .. queue .. '.lane:' .. lane
    local held = redis.call('HMGET', key, 'id', 'queue')
    if held[1] == '' and held[2] == queue then
      local raw = redis.pcall('LINDEX', list, -1)
      local message = type(raw) == 'string' and read_message(raw)
      local _, id = lane_and_id(message)
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
    local _, id = lane_and_id(read_message(entry))
    own = id == held[1]
  end
  if own then lanes.go_on(prefix, lane) end
end
