-- What is to be sent to one webhook: read on in the journal, lend the report that is due, and put away what became of it.
--
-- KEYS[1]  the journal
-- KEYS[2]  the end of the journal's chain; journal.lua, which is put in front of this text, adds entries
-- KEYS[3]  how far each webhook has read the journal, a hash: name to "<position> <seq> <entries missed>"
-- KEYS[4]  what is to be sent, a sorted set: key of a delivery by when it is due, UNIX ms
-- KEYS[5]  the same, by when its command ended
-- KEYS[6]  the deliveries, a hash: key to JSON
-- KEYS[7]  those that were given up, a sorted set: key by when
-- ARGV[1]  the move: take, finish, resend
-- ARGV[2]  the webhook's name
-- ARGV[3…] the move's own arguments, named where they are read
--
-- The position and what is queued move in one step, so that a worker that dies loses and repeats no entry.

local journal, head, positions, due, open, items, dead = unpack(KEYS)
local move, name = ARGV[1], ARGV[2]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local ENDS = {settle = true, refuse = true, abandon = true, resolve = true}
local MAX_DEAD = 100000

local function entry_of(flat)
  local fields = {}
  for at = 1, #flat, 2 do
    fields[flat[at]] = flat[at + 1]
  end
  return fields
end

local function put(key, item)
  redis.call('ZADD', due, now, key)
  redis.call('ZADD', open, item.since, key)
  redis.call('HSET', items, key, cjson.encode(item))
end

-- Reads up to so many entries, and queues the ends among them. A webhook that is new begins with what comes next. Returns
-- whether there may be more.
local function read_on(count, outcomes)
  local stored = redis.call('HGET', positions, name) or ''
  local position, seq, missed = string.match(stored, '^(%d+%-%d+) (%-?%d+) (%d+)$')
  if not position then
    local last = redis.call('XREVRANGE', journal, '+', '-', 'COUNT', 1)[1]
    -- An entry of an earlier version has no number.
    seq = last and (entry_of(last[2]).seq or '-1') or '0'
    redis.call('HSET', positions, name, (last and last[1] or '0-0') .. ' ' .. seq .. ' 0')
    return false
  end
  seq, missed = tonumber(seq), tonumber(missed)
  local page = redis.call('XRANGE', journal, '(' .. position, '+', 'COUNT', count)
  for _, found in ipairs(page) do
    local entry = entry_of(found[2])
    local number = #(entry.seq or '') < 16 and tonumber(string.match(entry.seq or '', '^%d+$'))
    if number then
      -- Entries in between were trimmed before they were read.
      if seq >= 0 and number > seq + 1 then
        missed = missed + number - seq - 1
      end
      seq = number
    end
    position = found[1]
    -- An entry that somebody else has added may lack anything: it must not keep those after it.
    if ENDS[entry.event] and entry.id and entry.outcome
      and string.find(outcomes, ',' .. entry.outcome .. ',', 1, true) then
      put(position, {id = entry.id, outcome = entry.outcome, since = tonumber(string.match(position, '^%d+')), attempt = 0})
    end
  end
  if #page > 0 then
    redis.call('HSET', positions, name, string.format('%s %.0f %.0f', position, seq, missed))
  end
  return #page == tonumber(count)
end

-- Lends the delivery that is due for longest: nobody else gets it before lease_ms have passed.
local function take(count, lease_ms, outcomes)
  local more = read_on(count, outcomes) and '1' or '0'
  local key = redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
  local stored = key and redis.call('HGET', items, key)
  if not stored then
    if key then
      redis.call('ZREM', due, key)
      redis.call('ZREM', open, key)
    end
    return {more, string.format('%.0f', now)}
  end
  local item = cjson.decode(stored)
  item.attempt = item.attempt + 1
  stored = cjson.encode(item)
  redis.call('HSET', items, key, stored)
  redis.call('ZADD', due, now + tonumber(lease_ms), key)
  return {more, string.format('%.0f', now), key, stored}
end

local function give_up(key, item)
  redis.call('ZREM', due, key)
  redis.call('ZREM', open, key)
  redis.call('ZADD', dead, now, key)
  -- Their journal entries stay.
  while redis.call('ZCARD', dead) > MAX_DEAD do
    redis.call('HDEL', items, redis.call('ZPOPMIN', dead)[1])
  end
  add_entry(journal, head, nil, now, {'event', 'webhook_failed', 'id', item.id, 'token', '', 'outcome', item.outcome,
    'webhook', name, 'why', item.said})
end

-- What became of an attempt: `done` ends the delivery whoever has it by now, for the receiver has it. `again` and `dead`
-- count only of its latest attempt. Returns 1 when that was recorded.
local function finish(key, attempt, how, wait_ms, said)
  if how == 'done' then
    redis.call('ZREM', due, key)
    redis.call('ZREM', open, key)
    redis.call('ZREM', dead, key)
    return redis.call('HDEL', items, key)
  end
  local stored = redis.call('HGET', items, key)
  local item = stored and cjson.decode(stored)
  if not item or item.attempt ~= tonumber(attempt) or not redis.call('ZSCORE', due, key) then
    return 0
  end
  item.said, item.at = said, now
  redis.call('HSET', items, key, cjson.encode(item))
  if how == 'dead' then
    give_up(key, item)
  else
    redis.call('ZADD', due, 'XX', now + tonumber(wait_ms), key)
  end
  return 1
end

-- Queues a delivery again that was given up, or one of a command's report that was delivered long ago.
local function resend(key, id, outcome, who, why)
  redis.call('ZREM', dead, key)
  put(key, {id = id, outcome = outcome, since = now, attempt = 0})
  add_entry(journal, head, nil, now, {'event', 'webhook_resent', 'id', id, 'token', '', 'outcome', outcome,
    'webhook', name, 'who', who, 'why', why})
  return 1
end

local moves = {take = take, finish = finish, resend = resend}
return moves[move](unpack(ARGV, 3))
