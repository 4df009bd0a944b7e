-- What waits at the server beside the queues' own lists; read in front of take.lua. Of a command queue Q:
--
-- Q.waiting            sorted set of the groups that have messages waiting, by whose turn it is
-- Q.waiting:<group>    list of a group's messages; the next is at its right end, as in Q
-- Q.parked             sorted set of the delivery tags of parked messages, by when they are due (UNIX ms of the server)
-- Q.parked.messages    hash of tag to "<what it waits for> <parked at, UNIX ms> <group>\n<message>"
-- Q.parked.next        when the first is due. It is read by a command that may write, which CLIENT TRACKING does not cover:
--                      parking wakes no worker.

local MOST_DUE, MOST_SORTED, MOST_SORTED_BYTES, MOST_GROUPS, FEW_ARRIVALS = 100, 200, 262144, 256, 32

-- A key of another type than a list is skipped; its error is returned when no other key holds a message.
local wrong_type_error
local function unless_wrong_type(key, answer)
  if answer.err:sub(1, 9) ~= 'WRONGTYPE' then return answer end
  wrong_type_error = wrong_type_error or {err = answer.err .. ' (' .. key .. ')'}
end

local function is_error(answer)
  return type(answer) == 'table' and answer.err ~= nil
end

-- Adds a message to a group's list by LPUSH (last) or RPUSH (first); the group comes last in turn unless it waits
-- already. Returns the error if that is refused; nothing is added then.
local function wait_in_group(queue, group, raw, push)
  local last = redis.pcall('ZRANGE', queue .. '.waiting', -1, -1, 'WITHSCORES')
  local answer = is_error(last) and last
    or redis.pcall('ZADD', queue .. '.waiting', 'NX', (tonumber(last[2]) or 0) + 1, group)
  if not is_error(answer) then answer = redis.pcall(push, queue .. '.waiting:' .. group, raw) end
  if is_error(answer) then return answer end
end

-- Makes parked messages due that have no time, should anybody have deleted that key.
local function find_parked(parked, messages, now)
  local count, timed = redis.pcall('HLEN', messages), redis.pcall('ZCARD', parked)
  if is_error(count) or is_error(timed) or count <= timed then return end
  for _, tag in ipairs(redis.call('HKEYS', messages)) do redis.pcall('ZADD', parked, 'NX', now, tag) end
end

-- Puts what is due in front of its group's messages, or of the queue where that is refused. Returns in how many
-- milliseconds the next is due, or nil, and whether anything was due.
local function release_due(queue, is_thorough)
  local parked, messages = queue .. '.parked', queue .. '.parked.messages'
  local written = redis.pcall('GETEX', parked .. '.next')
  local next_due, count = type(written) == 'string' and tonumber(written) or nil, 0
  if not next_due and not is_thorough then return end
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  if is_thorough then find_parked(parked, messages, now) end
  if is_thorough or next_due <= now then
    local rows = redis.pcall('ZRANGE', parked, 0, MOST_DUE, 'WITHSCORES')
    if is_error(rows) then return end
    while count < MOST_DUE and rows[2 * count + 1] and tonumber(rows[2 * count + 2]) <= now do count = count + 1 end
    for i = count, 1, -1 do -- the one that is due first is put in front last
      local tag = rows[2 * i - 1]
      local record = redis.pcall('HGET', messages, tag)
      if type(record) == 'string' then
        local group, raw = record:match('^%S+ %d+ (%S+)\n(.*)$')
        if wait_in_group(queue, group or '?', raw or record, 'RPUSH')
            and is_error(redis.pcall('RPUSH', queue, raw or record)) then return 1000, true end
        redis.call('HDEL', messages, tag)
      end
      redis.call('ZREM', parked, tag)
    end
    next_due = tonumber(rows[2 * count + 2])
    local to_write = next_due and string.format('%.0f', next_due) or false
    if to_write and to_write ~= written then redis.pcall('SET', parked .. '.next', to_write) end
    if written and not to_write then redis.call('DEL', parked .. '.next') end
  end
  return next_due and math.max(0, next_due - now), count > 0
end

-- Enters groups that have messages and are missing among those that wait, should anybody have deleted that key.
local function find_groups(queue, names)
  for group in ('? ' .. names):gmatch('%S+') do
    if redis.call('EXISTS', queue .. '.waiting:' .. group) == 1 then
      redis.pcall('ZADD', queue .. '.waiting', 'NX', 0, group)
    end
  end
end

-- Sorts arrivals by group: two hundred, or 256 KiB. One that can't be sorted is returned, with its list.
local sorted, sorted_bytes = 0, 0
local function is_sorting_over()
  return sorted >= MOST_SORTED or sorted_bytes >= MOST_SORTED_BYTES
end

local function sort_arrivals(queue, keys, names)
  for _, key in ipairs(keys) do
    while not is_sorting_over() do
      local raw = redis.pcall('RPOP', key)
      if is_error(raw) then return raw, key end
      if not raw then break end
      sorted, sorted_bytes = sorted + 1, sorted_bytes + #raw
      if wait_in_group(queue, group_of(raw, names), raw, 'LPUSH') then return raw, key end
    end
  end
end

-- Takes the next message of the group whose turn it is and that is not blocked. Returns it and its list, and a function
-- that is called when the message has been recorded elsewhere. `room` is what `is_blocked` goes by.
local function next_in_turn(queue, is_blocked, room)
  local waiting = queue .. '.waiting'
  local groups = redis.pcall('ZRANGE', waiting, 0, MOST_GROUPS - 1)
  if is_error(groups) then return groups, waiting end
  for _, group in ipairs(groups) do
    if not is_blocked(queue, group) then
      local list = waiting .. ':' .. group
      local raw = redis.pcall('RPOP', list)
      if is_error(raw) then
        local answer = unless_wrong_type(list, raw)
        if answer then return answer, list end
        room[group] = 0
      elseif not raw then
        redis.call('ZREM', waiting, group)
      else
        return raw, list, function()
          if redis.call('EXISTS', list) == 0 then
            redis.call('ZREM', waiting, group)
          elseif groups[2] then
            local last = redis.call('ZRANGE', waiting, -1, -1, 'WITHSCORES')
            redis.call('ZADD', waiting, last[2] + 1, group)
          end
        end
      end
    end
  end
end

-- Whether a message waits that may be taken, and whether one waits of a group that is blocked.
local function what_waits(queue, is_blocked)
  local open, held = false, false
  local groups = redis.pcall('ZRANGE', queue .. '.waiting', 0, MOST_GROUPS - 1)
  for _, group in ipairs(is_error(groups) and {} or groups) do
    if is_blocked(queue, group) then held = true else open = true end
  end
  return open, held
end
