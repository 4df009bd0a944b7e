-- Looks at what waits beside a queue's own list: parked messages, a page of them, and messages that wait by group. No body
-- of a message is returned. Keys: see waiting.lua.
--
-- ARGV[1]  the queue; no key of the script, because one who may only read it may not name it as a key (redis.io, ACL)
-- ARGV[2]  how many parked messages are left out, those that are due first
-- ARGV[3]  how many are read at most, of no more than a mebibyte
-- ARGV[4]  of how many the ids are read
-- ARGV[5]  of which group; "" for any
-- Returns {now, UNIX ms; how many are parked; how many were read; when the first is due, or ""; {what they wait for, group,
-- count, parked at, due, …}, the earliest times of each; {id, what it waits for, group, parked at, due, …};
-- {group, length, when the oldest of its next messages was enqueued or "", …} of what waits by group}.
local queue, first, most, lines, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local parked, messages, waiting = queue .. '.parked', queue .. '.parked.messages', queue .. '.waiting'

local function header(raw, name)
  local read, found = pcall(cjson.decode, raw)
  local headers = read and type(found) == 'table' and found.headers
  return type(headers) == 'table' and headers[name] or nil
end

local function text(value)
  if type(value) == 'number' then return string.format('%.0f', value) end
  return type(value) == 'string' and value:sub(1, 255) or ''
end

local rows = redis.call('ZRANGE', parked, first, first + most - 1, 'WITHSCORES')
local next_due = redis.call('ZRANGE', parked, 0, 0, 'WITHSCORES')[2] or ''
local counts, order, shown, bytes, read = {}, {}, {}, 0, 0
for i = 1, #rows, 2 do
  if bytes > 1048576 then break end
  local record, due = redis.call('HGET', messages, rows[i]) or '', tonumber(rows[i + 1])
  bytes, read = bytes + #record, read + 1
  local reason, at, group, start = record:match('^(%S+) (%d+) (%S+)\n()')
  reason, at, group = reason or '?', tonumber(at or due), group or '?'
  if wanted == '' or wanted == group then
    local found = counts[reason .. ' ' .. group]
    if not found then
      found = {reason, group, 0, at, due}
      counts[reason .. ' ' .. group] = found
      order[#order + 1] = found
    end
    found[3], found[4] = found[3] + 1, math.min(found[4], at)
    if #shown < 5 * lines then
      for _, value in ipairs({text(start and header(record:sub(start), 'id')), reason, group, text(at), text(due)}) do
        shown[#shown + 1] = value
      end
    end
  end
end
local summary = {}
for _, found in ipairs(order) do
  for _, value in ipairs(found) do summary[#summary + 1] = text(value) end
end

local groups = {}
for _, group in ipairs(redis.call('ZRANGE', waiting, 0, 255)) do
  local list = waiting .. ':' .. group
  -- What workers put back lies in front, in no order of age: the oldest of the next ones counts.
  local enqueued_at, examined = nil, 0
  for at = -1, -16, -1 do
    local message = (at == -1 or examined < 65536) and redis.call('LINDEX', list, at)
    if not message then break end
    local said = #message <= 65536 and header(message, 'enqueued_at')
    examined = examined + #message
    if type(said) == 'number' then enqueued_at = math.min(said, enqueued_at or said) end
    if not enqueued_at then break end
  end
  enqueued_at = enqueued_at or ''
  for _, value in ipairs({group, text(redis.call('LLEN', list)), text(enqueued_at)}) do groups[#groups + 1] = value end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return {text(now), redis.call('ZCARD', parked), read, text(next_due ~= '' and tonumber(next_due)), summary, shown, groups}
