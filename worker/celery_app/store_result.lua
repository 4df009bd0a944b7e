-- KEYS[1]  the result's key, which is also the channel on which whoever waits for it listens
-- ARGV[1]  the result, as Celery encodes it
-- ARGV[2]  how long it is kept, seconds; 0: for ever
-- ARGV[3]  how good a word on this command it is, see `worth`; 0: it is no report
-- ARGV[4]  the command's id as JSON
-- Returns 1, or 0 where what stands is the better word.
local RANK = {unknown = 1, not_sent = 2, rejected = 3, accepted = 4}
local RAISED = {OrderUnknown = 'unknown', OrderNotSent = 'not_sent', OrderRejected = 'rejected'}

local function worth(outcome, command)
  return RANK[outcome] + (command == 'positions' and 0 or 10)
end

local function standing(stored)
  -- What workers write begins so, and however long and deep it goes on, the rest need not be read.
  local mine = '{"command_id": ' .. ARGV[4] .. ', "command": "'
  local head = stored:sub(1, #mine + 200)
  local raised = head:match('^{"status": "FAILURE", "result": {"exc_type": "(Order%a+)", "exc_message": %[{')
  local from, to = head:find(mine, 1, true)
  local whole = from and head:sub(1, from - 1) == '{"status": "SUCCESS", "result": '
  if from and (RAISED[raised] or whole) then
    return worth(whole and 'accepted' or RAISED[raised], head:sub(to + 1):match('^%a*')), true
  end
  local read, meta = pcall(cjson.decode, stored)
  if not read or type(meta) ~= 'table' then return 0, false end
  local report, outcome = meta.result, meta.status == 'SUCCESS' and 'accepted'
  if meta.status == 'FAILURE' and type(report) == 'table' then
    outcome = RAISED[report.exc_type]
    report = type(report.exc_message) == 'table' and report.exc_message[1]
  end
  if not outcome or type(report) ~= 'table' or report.command_id ~= cjson.decode('[' .. ARGV[4] .. ']')[1]
    or report.outcome ~= outcome then
    return 0, meta.status == 'SUCCESS'
  end
  return worth(outcome, report.command), true
end

local stored, new = redis.pcall('GET', KEYS[1]), tonumber(ARGV[3])
if type(stored) == 'string' then
  local stands, ended = standing(stored)
  -- A SUCCESS is never written over by its like, a report's or not; any other report may be told again.
  if stands > new or (stands == new and ended and (new == 0 or new % 10 == RANK.accepted)) then return 0 end
end
if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
