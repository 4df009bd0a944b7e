-- Whether this login may reach the results, and the messages, in a script of the ledger. Changes nothing: what it would
-- write or remove is not there.
--
-- ARGV[1]  the ledger's database
-- ARGV[2]  the results' database
-- ARGV[3]  the messages' database; empty where they are on another server
-- Returns the first refusal, or an empty text.

local refusal
local function try(...)
  local reply = redis.pcall(...)
  refusal = refusal or (type(reply) == 'table' and reply.err)
end

-- Of an id that no command has. Whoever listens to all results reads a result of Celery's form, which says nothing.
local NOBODY = '00000000-0000-4000-8000-000000000000'
local RESULT = 'celery-task-meta-' .. NOBODY
local NO_RESULT = '{"task_id": "' .. NOBODY .. '", "status": "PENDING", "result": null}'
try('SELECT', ARGV[2])
try('EXISTS', RESULT)
if ARGV[3] ~= '' then
  try('GET', RESULT)
  try('SET', RESULT, NO_RESULT, 'XX')
  try('PUBLISH', RESULT, NO_RESULT)
  try('SELECT', ARGV[3])
  try('HGET', 'unacked', NOBODY)
  try('ZREM', 'unacked_index', NOBODY)
  try('HDEL', 'unacked', NOBODY)
end
try('SELECT', ARGV[1])
return refusal or ''
