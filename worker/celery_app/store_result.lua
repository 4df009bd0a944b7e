-- Stores and publishes a result, unless a report of a higher rank is stored.
--
-- KEYS[1]  the result's key, which is also the channel on which those who wait for it listen
-- ARGV[1]  the result, as Celery encodes it
-- ARGV[2]  how long it is kept, seconds; 0: for ever
-- ARGV[3]  its rank, see `rank`; 0: it is no report of this command
-- ARGV[4]  the command's id as JSON
-- ARGV[5]  1 when it is a signed report
-- Returns 1, or 0 when the stored result stays.
local kept = tonumber(ARGV[2]) > 0 and {'EX', ARGV[2]} or {}

-- Nearly always nothing is stored yet.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', unpack(kept)) then
  redis.call('PUBLISH', KEYS[1], ARGV[1])
  return 1
end

local RANK_OF = {unknown = 1, not_sent = 2, rejected = 3, accepted = 4}
local OUTCOME_OF = {OrderUnknown = 'unknown', OrderNotSent = 'not_sent', OrderRejected = 'rejected'}

local function rank(outcome, command)
  return RANK_OF[outcome] + (command == 'positions' and 0 or 10)
end

-- The rank of the stored result, and whether it ends a task: it is a report, or a SUCCESS.
local function rank_of_stored(stored)
  -- A result that a worker has written begins like this; the rest, which may be long and deep, need not be decoded.
  local beginning = '{"command_id": ' .. ARGV[4] .. ', "command": "'
  local head = stored:sub(1, #beginning + 200)
  local error_class = head:match('^{"status": "FAILURE", "result": {"exc_type": "(Order%a+)", "exc_message": %[{')
  local from, to = head:find(beginning, 1, true)
  local is_success = from and head:sub(1, from - 1) == '{"status": "SUCCESS", "result": '
  if from and (OUTCOME_OF[error_class] or is_success) then
    return rank(is_success and 'accepted' or OUTCOME_OF[error_class], head:sub(to + 1):match('^%a*')), true
  end
  -- Longer than anybody reads, and no worker's: decoding it could take the server's memory.
  if #stored > 33554432 then return 0, false end
  local read, meta = pcall(cjson.decode, stored)
  if not read or type(meta) ~= 'table' then return 0, false end
  local report, outcome = meta.result, meta.status == 'SUCCESS' and 'accepted'
  if meta.status == 'FAILURE' and type(report) == 'table' then
    outcome = OUTCOME_OF[report.exc_type]
    report = type(report.exc_message) == 'table' and report.exc_message[1]
  end
  if not outcome or type(report) ~= 'table' or report.command_id ~= cjson.decode('[' .. ARGV[4] .. ']')[1]
    or report.outcome ~= outcome then
    return 0, meta.status == 'SUCCESS'
  end
  return rank(outcome, report.command), true
end

local stored, new = redis.pcall('GET', KEYS[1]), tonumber(ARGV[3])
if type(stored) == 'string' then
  local old, is_end = rank_of_stored(stored)
  -- A SUCCESS is never replaced by another one, but an unsigned one by a signed one; any other report may be stored again.
  local final = is_end and (new == 0 or new % 10 == RANK_OF.accepted)
  local signs = ARGV[5] == '1' and not stored:find('"signature": {', 1, true)
  if old > new or (old == new and final and not signs) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], unpack(kept))
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
