-- Every move of the ledger, atomically. The protocol and the states: base.py.
--
-- KEYS[1]  the command's record, a hash
-- KEYS[2]  the journal, a stream; journal.lua, which is put in front of this text, adds its entries
-- KEYS[3]  the open unknowns, a sorted set: command id by the time it became unknown
-- KEYS[4]  the halts, a hash: "<account or *>/<command or *>" to who, why and when as JSON
-- KEYS[5]  when intents in the command's outbox are due, a sorted set: ids of commands that were enqueued and have not ended, by the time from
--          which their absence counts
-- KEYS[6]  the outbox of the command, a hash: intents by command id
-- KEYS[7]  the end of the journal's chain, a text
-- KEYS[8]  the sums of the counters of withdrawals, see counters.lua, which is put in front of this text, too
-- KEYS[9]  the commands that are held for approval, a sorted set: by when their messages are published again
-- KEYS[10] like KEYS[5], of the outbox that producers of the version before write
-- KEYS[11] that outbox
-- KEYS[12] and KEYS[13], where the account has a pace: see pacing.lua, which is put in front of this text, too
-- ARGV[1]  the move: begin, take_to_look, renew, pause, park, settle, refuse, abandon, resolve, decide, admit, cool_down
-- ARGV[2]  command id
-- ARGV[3]  token of the run that asks
-- ARGV[4]  how many journal entries to keep, approximately
-- ARGV[5…] the move's own arguments, named where they are read
--
-- The server's clock decides leases, so that the clocks of workers need not agree. Replies are flat lists, the first
-- element says what happened; numbers come back as strings where they are stored fields.

local record, journal, unknowns, halts, due, outbox = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local move, id, token, keep_lines = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function write(event, outcome, ...)
  add_entry(journal, KEYS[7], keep_lines, now,
    {'event', event, 'id', id, 'token', token, 'outcome', outcome or '', ...})
end

-- The command has its end, so it can't be lost on its way any more. Senders write the outbox too: pcall, because one
-- that has changed its type must stop nothing but the search for lost commands.
local function end_intent()
  if redis.pcall('HDEL', outbox, id) == 1 then
    redis.pcall('ZREM', due, id)
  elseif redis.pcall('HDEL', KEYS[11], id) == 1 then
    redis.pcall('ZREM', KEYS[10], id)
  end
end

-- Whether the run that asks is the record's owner. What is parked has none: its token says who has parked it.
local function owned(r)
  return r.token == token and r.state ~= 'PARKED'
end

-- Ended records expire after keep_ms (0: never), counted from their end; but a withdrawal never, once it was in doubt.
-- Only a proof that nothing was executed gives back what was counted of one: an unknown's counts until it is settled so.
-- `r` is the record before that.
local function finish(event, r, state, outcome, report, keep_ms, ...)
  if r.command == 'withdraw' and (r.state == 'UNKNOWN' or (r.tainted or '') ~= '') then keep_ms = 0 end
  redis.call('HSET', record, 'state', state, 'report', report)
  if r.counted and (outcome == 'not_sent' or outcome == 'rejected') then
    withdrawal_counters().give_back(r.counted)
    redis.call('HDEL', record, 'counted')
  end
  if state == 'UNKNOWN' then
    redis.call('ZADD', unknowns, now, id)
    redis.call('PERSIST', record)
  else
    redis.call('ZREM', unknowns, id)
    if tonumber(keep_ms) > 0 then
      redis.call('PEXPIRE', record, keep_ms)
    end
  end
  end_intent()
  write(event, outcome, ...)
end

-- Makes a record that has its end from the start.
local function create_ended(event, fingerprint, command, account, arguments, state, outcome, report, keep_ms, place,
    limits, lookup)
  local counted
  if limits ~= '' then
    local counters = withdrawal_counters()
    counted = counters.count(counters.read_limits(limits), id, now)
    redis.call('HSET', record, 'counted', counted)
  end
  redis.call('HSET', record, 'fingerprint', fingerprint, 'command', command, 'account', account,
    'arguments', arguments, 'token', token, 'fence', 1, 'tries', 0, 'sent', 0, 'tainted', '', 'lease_until', 0,
    'begun_at', 0, 'attempt', 0, 'place', place, 'lookup', lookup)
  finish(event, {command = command, tainted = '', counted = counted}, state, outcome, report, keep_ms)
  return {'done'}
end

-- The venue's word on further attempts is true whoever owns the record by now.
local function record_fate(fate)
  if fate ~= '' then
    pacing(fate, now, write).record_fate(token)
  end
end

local function settle(fingerprint, command, account, arguments, state, outcome, report, keep_ms, place, limits, fate,
    lookup)
  record_fate(fate)
  local v = redis.call('HMGET', record, 'state', 'token', 'report', 'command', 'tainted', 'counted')
  if not v[1] then
    -- The server lost the record of a send that was begun (a restart without its last writes): put the truth back.
    return create_ended('settle', fingerprint, command, account, arguments, state, outcome, report, keep_ms, place,
      limits, lookup)
  end
  local r = {state = v[1], token = v[2], report = v[3] or nil, command = v[4], tainted = v[5], counted = v[6]}
  -- A sender that was taken for dead has its response after all: that evidence settles the unknown.
  local evidence = r.state == 'UNKNOWN' and state ~= 'UNKNOWN'
  if owned(r) and (not r.report or evidence) then
    finish('settle', r, state, outcome, report, keep_ms)
    return {'done'}
  end
  -- The same report again: the reply to the first call was lost.
  if r.token == token and r.report == report then
    return {'done'}
  end
  write('late', outcome)
  return {'ended', r.report or ''}
end

-- What follows the end of a command, each in its database: its result is stored by these arguments (store_result.lua), and
-- its message acknowledged (ack.lua), as far as there is one to acknowledge. Neither undoes the end or keeps it from being
-- told. store_result and acknowledge are put in front of this text (beside.py).
local function follow(own, results, key, value, seconds, rank, id_text, signed, broker, unacked_index, unacked, ...)
  local stored = pcall(function(...)
    redis.call('SELECT', results)
    store_result({key}, {...})
  end, value, seconds, rank, id_text, signed)
  local acked = stored and broker and pcall(function(...)
    redis.call('SELECT', broker)
    acknowledge({unacked_index, unacked}, {...})
  end, ...)
  redis.pcall('SELECT', own)
  return {'done', stored and '1' or '0', acked and '1' or '0'}
end

local function settle_and_follow(...)
  local reply = settle(...)
  if reply[1] == 'done' and select('#', ...) > 12 then
    return follow(select(13, ...))
  end
  return reply
end

-- What only other moves need is made behind this, because making it would cost each command some microseconds.
if move == 'settle' then
  return settle_and_follow(unpack(ARGV, 5))
end

local function load()
  local v = redis.call('HMGET', record, 'state', 'fingerprint', 'token', 'fence', 'tries', 'sent', 'tainted',
    'lease_until', 'begun_at', 'attempt', 'report', 'place', 'hold_until', 'sealed_by', 'decided', 'budget_from',
    'doubt', 'lookup', 'command', 'counted', 'first_sent_at', 'last_signed_at')
  if not v[1] then
    return nil
  end
  return {state = v[1], fingerprint = v[2], token = v[3], fence = tonumber(v[4]), tries = tonumber(v[5]),
    sent = tonumber(v[6]), tainted = v[7], lease_until = v[8], begun_at = v[9], attempt = v[10],
    report = v[11] or nil, place = v[12] or '', hold_until = tonumber(v[13] or 0), sealed_by = v[14] or '',
    decided = v[15] or '0', budget_from = tonumber(v[16] or v[9]), doubt = v[17] or '', lookup = v[18] or '',
    command = v[19], counted = v[20], first_sent_at = v[21] or '', last_signed_at = v[22] or ''}
end

-- A begun command without its end counts as lost only so long after its lease: by then the broker has delivered it again,
-- if it still has it. Should both its worker and its message be gone, nothing else would ever end it.
local REDELIVERED_MS = 120000
local function postpone_intent(lease_until)
  if redis.pcall('HEXISTS', outbox, id) == 1 then
    redis.pcall('ZADD', due, lease_until + REDELIVERED_MS, id)
  elseif redis.pcall('HEXISTS', KEYS[11], id) == 1 then
    redis.pcall('ZADD', KEYS[10], lease_until + REDELIVERED_MS, id)
  end
end

-- The halt that applies, or nil. What reduces risk, cancels and closes, passes unless it is halted by name. A new order never
-- passes, nor does one that is reduce-only: that is between its sender and the venue, and nothing here looks into arguments.
local function halted(command, account)
  local found = redis.call('HMGET', halts, account .. '/' .. command, '*/' .. command, account .. '/*', '*/*')
  local guarded = command == 'cancel' or command == 'close'
  return found[1] or found[2] or (not guarded and (found[3] or found[4])) or nil
end

-- `r` is the record before this move, as far as there is one: no move that tells of progress changes these times.
local function progress(tries, sent, tainted, r)
  return tostring(tries), tostring(sent), tainted, r and r.first_sent_at or '', r and r.last_signed_at or ''
end

-- The reply to a claim with this fingerprint that may not take the record; nil when it may. The intent of a command that
-- has its end is removed, should that have failed then.
local function obstacle(fingerprint, r)
  if r.report then
    end_intent()
  end
  if r.fingerprint ~= fingerprint then
    write('id_reused')
    return {'reused', r.report or ''}
  end
  if r.report then
    return {'ended', r.report}
  end
  local left = tonumber(r.lease_until) - now
  if not owned(r) and left > 0 then
    return {'busy', tostring(left)}
  end
  return nil
end

-- Whether a result is stored under an id of which nothing was ever begun: its record, if any, says so. `results` is the
-- database in which `key` is looked for, or '*' where the worker has found one; nil where none is heeded. What can't be
-- looked at stops nothing. `own` is the ledger's database.
local function is_known(r, own, results, key)
  if not results or (r and not (r.report and r.tries == 0)) then
    return false
  end
  if results == '*' then
    return true
  end
  local selected = redis.pcall('SELECT', results)
  local found = not selected.err and redis.pcall('EXISTS', key)
  redis.call('SELECT', own)
  return found == 1
end

-- Whether an id that has no record may neither be begun nor ended any more: it may have been executed, and its record have
-- expired since.
local function is_over(begin_by)
  return begin_by ~= '0' and now > tonumber(begin_by)
end

-- Whether an owner died with a send begun.
local function died_sending(r)
  return r.state == 'SENDING' and not owned(r)
end

-- Whether an attempt of the command is of unknown fate, and the venue of the account at this place can be asked about all
-- of them.
local function can_be_looked_for(r, place)
  return (r.tainted ~= '' or died_sending(r)) and r.lookup ~= '' and r.place == place
end

-- The lookup of an attempt that begins beside earlier ones in doubt. Its text ends with until when the venue may take the
-- request, UNIX ms, or with 0 where nothing keeps it from that: of all of them the latest counts. Empty where one of them
-- can't be looked for.
local UNTIL = '(%d+)(%]?)$'
local function finding_all(lookup, earlier)
  local one, other = string.match(lookup, UNTIL), string.match(earlier, UNTIL)
  if not one or not other then
    return ''
  end
  local latest = (one == '0' or other == '0') and 0 or math.max(tonumber(one), tonumber(other))
  return (string.gsub(lookup, UNTIL, string.format('%.0f', latest) .. '%2'))
end

local function orphan(r)
  local sending = r.state == 'SENDING'
  return {'orphaned', r.token, r.begun_at, sending and '1' or '0', r.doubt,
    progress(r.tries, r.sent + (sending and 1 or 0), r.tainted, r)}
end

-- A command is held until enough persons have approved it, one has denied it, or its time is over: its message is then
-- published again. Who may decide, and whether it is these persons' word, workers say themselves; nothing here is believed.
local function decisions()
  local found = {}
  local fields = redis.call('HGETALL', record)
  for at = 1, #fields, 2 do
    if string.sub(fields[at], 1, 9) == 'decision:' then
      found[#found + 1] = fields[at + 1]
    end
  end
  return found
end

local MAX_HELD = 1000
local function hold(r, fingerprint, command, account, arguments, asked)
  local hold_until = string.format('%.0f', r and r.hold_until or math.min(now + asked.hold_ms, asked.deadline))
  -- Their messages fill the server's memory; and where somebody has spoilt the key, nobody would publish it again.
  local size = redis.pcall('ZCARD', KEYS[9])
  if type(size) ~= 'number' or (not r and size >= MAX_HELD) then
    return {'hold_over', '0'}
  end
  redis.call('ZADD', KEYS[9], hold_until, id)
  if not r then
    redis.call('HSET', record, 'state', 'HELD', 'fingerprint', fingerprint, 'command', command, 'account', account,
      'arguments', arguments, 'token', '', 'fence', 0, 'tries', 0, 'sent', 0, 'tainted', '', 'lease_until', 0,
      'begun_at', 0, 'attempt', 0, 'held_at', now, 'hold_until', hold_until, 'message', asked.message,
      'needed', asked.needed, 'sealed_by', asked.sealed_by)
    write('held', '', 'command', command, 'account', account, 'until', hold_until)
  end
  postpone_intent(tonumber(hold_until))
  local sealed_by, decided = asked.sealed_by, '0'
  if r then
    sealed_by, decided = r.sealed_by, r.decided
  end
  return {'held', hold_until, sealed_by, decided, unpack(decisions())}
end

local function end_hold()
  redis.pcall('ZREM', KEYS[9], id)
  redis.call('HDEL', record, 'message')
end

local function begin(fingerprint, command, account, arguments, repeatable, lease_ms, attempt, place, limits,
    hold_for, sealed_by, begin_by, pace, lookup, ...)
  local r = redis.call('EXISTS', record) == 1 and load() or nil
  if is_known(r, ...) then
    return {'known'}
  end
  local fence, tries, sent, tainted = 1, 0, 0, ''
  local denied = r and obstacle(fingerprint, r)
  if denied then
    return denied
  end
  if not r and is_over(begin_by) then
    return {'too_late'}
  end
  if r and lookup ~= '' and repeatable ~= '1' and not owned(r) and can_be_looked_for(r, place) then
    return {'look_first'}
  end
  -- The same attempt again, because the reply to the first call was lost: it has begun, whatever was halted since.
  local repeated = r and r.token == token and r.state == 'SENDING' and r.attempt == attempt
  local halt = not repeated and halted(command, account)
  if halt then
    return {'halted', halt}
  end
  local held = r and r.state == 'HELD'
  if held and r.hold_until <= now then
    return {'hold_over', string.format('%.0f', r.hold_until)}
  end
  local asked_hold = hold_for ~= '' and (held or not r) and cjson.decode(hold_for)
  -- Who asks has seen enough approvals, and nobody has decided anything since.
  local approved = held and asked_hold and asked_hold.decided ~= '' and asked_hold.decided == r.decided
  if asked_hold and not approved then
    return hold(r, fingerprint, command, account, arguments, asked_hold)
  end
  if held then
    r = nil  -- approved: this is its first begin
  end
  local mine = r and owned(r)
  local in_doubt = r and died_sending(r)
  -- What is in doubt and can't be repeated is begun by nobody, not even by its owner, until its doubt is gone. What needs
  -- approval is not taken over either: only its own worker has seen that it was approved before it began.
  local doubtful = in_doubt or (r and not repeated and r.tainted ~= '')
  if (doubtful and repeatable ~= '1') or (r and not mine and hold_for ~= '') then
    return orphan(r)
  end
  local counters = not repeated and limits ~= '' and withdrawal_counters()
  local asked = counters and counters.read_limits(limits)
  local over = counters and counters.over_limit(asked, id, now)
  if over then
    return over
  end
  -- The retry budget lasts across parks; whoever takes a dead owner's command over has a new one.
  local budget_from = r and (mine or r.state == 'PARKED') and r.budget_from or now
  local since_ms = string.format('%.0f', math.max(0, now - budget_from))
  local paced, brake, probed = pace ~= '' and pacing(pace, now, write)
  if paced and not repeated then
    brake, probed = paced.heed(token)
  end
  if brake then
    brake[5] = r and since_ms or ''
    return brake
  end
  if held then
    end_hold()
  end
  local probe = paced and (repeated and paced.is_probe(token) or not repeated and paced.count(probed, token, lease_ms))
  if r then
    fence, tries, sent, tainted = r.fence, r.tries, r.sent, r.tainted
    if mine then
      if repeated then
        tries = tries - 1
      end
    else
      if in_doubt then
        sent = sent + 1
        if tainted == '' then
          tainted = 'crashed'
        end
      end
      fence = fence + 1
    end
  end
  tries = tries + 1
  if r and tainted ~= '' then
    lookup = finding_all(lookup, r.lookup)
  end
  local finds_all = lookup
  if r and r.place ~= place then
    place = r.place == '' and '' or '*'
    finds_all = ''
  end
  local more = lookup ~= '' and {'lookup', lookup} or {}
  local is_new = not r and not held
  if is_new then
    more[#more + 1], more[#more + 2] = 'first_begun_at', now
  end
  if not r and sealed_by ~= '' then
    more[#more + 1], more[#more + 2] = 'sealed_by', sealed_by
  end
  redis.call('HSET', record, 'state', 'SENDING', 'fingerprint', fingerprint, 'command', command, 'account', account,
    'arguments', arguments, 'token', token, 'fence', fence, 'tries', tries, 'sent', sent, 'tainted', tainted,
    'lease_until', now + tonumber(lease_ms), 'begun_at', now, 'attempt', attempt, 'place', place,
    'budget_from', string.format('%.0f', budget_from), unpack(more))
  if lookup == '' and r and r.lookup ~= '' then
    redis.call('HDEL', record, 'lookup')
  end
  if not is_new then
    redis.call('HSETNX', record, 'first_begun_at', now)
  end
  if counters then
    redis.call('HSET', record, 'counted', counters.count(asked, id, now, r and r.counted))
  end
  postpone_intent(now + tonumber(lease_ms))
  write('begin', '', 'command', command, 'account', account)
  return {'begun', tostring(fence), since_ms, r and r.doubt or '', probe and '1' or '0', finds_all,
    progress(tries, sent, tainted, r)}
end

if move == 'begin' then
  return begin(unpack(ARGV, 5))
end

local function halted_by_name(command, account)
  local found = redis.call('HMGET', halts, account .. '/' .. command, '*/' .. command)
  return found[1] or found[2] or nil
end

-- A new owner, or the same one whose reply was lost, is to look for the command: nothing of it begins.
local function take_to_look(fingerprint, lease_ms, place)
  local r = load()
  if not r or r.state == 'HELD' then
    return {'none'}
  end
  local denied = obstacle(fingerprint, r)
  if denied then
    return denied
  end
  if not can_be_looked_for(r, place) then
    return {'none'}
  end
  local fence, sent, tainted, budget_from = r.fence, r.sent, r.tainted, r.budget_from
  if not owned(r) then
    fence = fence + 1
    if r.state == 'SENDING' then
      sent = sent + 1
      tainted = tainted ~= '' and tainted or 'crashed'
    end
    if r.state ~= 'PARKED' then
      budget_from = now
    end
  end
  local lease_until = now + tonumber(lease_ms)
  redis.call('HSET', record, 'state', 'WAITING', 'token', token, 'fence', fence, 'sent', sent, 'tainted', tainted,
    'lease_until', lease_until, 'budget_from', string.format('%.0f', budget_from))
  postpone_intent(lease_until)
  write('look')
  local since_ms = string.format('%.0f', math.max(0, now - budget_from))
  local begun_ms = string.format('%.0f', math.max(0, now - tonumber(r.begun_at)))
  return {'doubtful', tostring(fence), since_ms, r.doubt, r.lookup, begun_ms, progress(r.tries, sent, tainted, r)}
end

local function renew(lease_ms)
  local r = load()
  if not r or r.token ~= token or r.state ~= 'SENDING' then
    return {'lost'}
  end
  redis.call('HSET', record, 'lease_until', now + tonumber(lease_ms))
  -- A request that is signed under this lease may arrive long after the attempt's begin.
  write('renew')
  return {'done'}
end

local function save_progress(state, lease_ms, tries, sent, tainted, first_sent_at, last_signed_at)
  redis.call('HSET', record, 'state', state, 'tries', tries, 'sent', sent, 'tainted', tainted,
    'first_sent_at', first_sent_at, 'last_signed_at', last_signed_at, 'lease_until', now + tonumber(lease_ms))
  postpone_intent(now + tonumber(lease_ms))
end

-- For the journal: why an attempt so far is of unknown fate. Nothing where none is.
local function doubt_of(_, _, _, tainted)
  if tainted ~= '' then
    return 'doubt', tainted
  end
end

local function pause(fate, ...)
  record_fate(fate)
  local r = load()
  if not r or not owned(r) or r.report or r.state == 'HELD' then
    return {'lost'}
  end
  save_progress('WAITING', ...)
  write('pause', '', doubt_of(...))
  return {'done'}
end

-- The owner gives the command up: nobody owns it, and anybody may begin it once its lease, which is the wait, is over.
local function park(fate, doubt, ...)
  record_fate(fate)
  local r = load()
  if not r or r.token ~= token or r.report or r.state == 'HELD' then
    return {'lost'}
  end
  -- Parked already: the reply to the first call was lost.
  if r.state ~= 'PARKED' then
    save_progress('PARKED', ...)
    redis.call('HSET', record, 'doubt', doubt)
    write('park', '', doubt_of(...))
  end
  return {'done'}
end

local function refuse(fingerprint, command, account, arguments, state, outcome, report, keep_ms, place, limits,
    begin_by)
  local r = load()
  if r then
    local kept = obstacle(fingerprint, r) or (r.state ~= 'HELD' and orphan(r))
    if kept then
      return kept
    end
    -- What is held has not begun. A message that may only end what has begun may end it when its time is over.
    if is_over(begin_by) and r.hold_until > now then
      return {'too_late'}
    end
    end_hold()
  end
  if not r and is_over(begin_by) then
    return {'too_late'}
  end
  return create_ended('refuse', fingerprint, command, account, arguments, state, outcome, report, keep_ms, place, limits,
    '')
end

-- The report was made for the orphan that was found. It is untrue once the owner has come back and begun another attempt,
-- even if the lease of that is over again.
local function abandon(dead_token, sending, tries, state, outcome, report, keep_ms)
  local r = load()
  if not r or r.token ~= dead_token or r.report or r.state == 'HELD' or tonumber(r.lease_until) > now then
    return {'lost'}
  end
  if (r.state == 'SENDING') ~= (sending == '1') or r.tries ~= tonumber(tries) then
    return {'lost'}
  end
  finish('abandon', r, state, outcome, report, keep_ms)
  return {'done'}
end

-- An unknown is settled by evidence from the venue, or by an operator's word: who and why are on record, and in the
-- journal also the fields that follow them, which prove whose word it is.
local function resolve(state, outcome, report, keep_ms, who, why, ...)
  local r = load()
  if not r then
    return {'absent'}
  end
  if r.state ~= 'UNKNOWN' then
    return r.report and {'ended', r.report} or {'open'}
  end
  redis.call('HSET', record, 'resolved_by', who, 'resolved_why', why)
  local proof = {...}
  for number = 1, #proof, 2 do
    redis.call('HSET', record, 'resolved_' .. proof[number], proof[number + 1])
  end
  finish('resolve', r, state, outcome, report, keep_ms, 'who', who, 'why', why, ...)
  return {'done'}
end

-- The signed word of a person on a command that is held; a later one under the same key replaces it.
local function decide(fingerprint, who, event, signed, kid)
  local r = load()
  if not r or r.state ~= 'HELD' or r.fingerprint ~= fingerprint then
    return {'not_held'}
  end
  redis.call('ZADD', KEYS[9], now, id)
  local decided = string.format('%.0f', (tonumber(r.decided) or 0) + 1)
  redis.call('HSET', record, 'decision:' .. who .. '/' .. kid, signed, 'decided', decided)
  write(event, '', 'who', who)
  return {'done'}
end

-- A query, which has no record, is about to be sent.
local function admit(command, account, lease_ms, pace, ...)
  if is_known(nil, ...) then
    return {'known'}
  end
  local halt = halted_by_name(command, account)
  if halt then
    return {'halted', halt}
  end
  if pace == '' then
    return {'admitted', '0'}
  end
  local paced = pacing(pace, now, write)
  local brake, probed = paced.heed(token)
  if brake then
    brake[5] = ''
    return brake
  end
  return {'admitted', paced.count(probed, token, lease_ms) and '1' or '0'}
end

local function cool_down(fate)
  record_fate(fate)
  return {'done'}
end

local moves = {take_to_look = take_to_look, renew = renew, pause = pause, park = park, refuse = refuse,
  abandon = abandon, resolve = resolve, decide = decide, admit = admit, cool_down = cool_down}
return moves[move](unpack(ARGV, 5))
