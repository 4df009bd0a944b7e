-- How fast attempts begin at a venue: rate limits, and cool-downs with their probes. This file is put in front of
-- transitions.lua and shares its KEYS and ARGV.
--
-- KEYS[12]  the cool-downs, a hash: bucket or host to {"until", "since", "chosen", "why", "by_address", "probe",
--           "probe_until"}, times in ms; "chosen" is how long it lasts where the venue does not say, 0 before that;
--           "probe" is the token of the run whose attempt shows if the venue answers again, until "probe_until", with a "?"
--           in front of it when nothing that it brings shows that any more
-- KEYS[13]  when the latest attempts of the bucket were begun, a list, the oldest first
--
-- Both serve the venue alone, so neither may keep a command from its end: what can't be read is deleted, with an entry in
-- the journal, and written anew from there on. So is what lies further ahead than it can: the clock was put back.
--
-- The functions are made when they are needed, because making them would cost each other command some microseconds.

local function pacing(text, now, journal_entry)
  local cool_downs, begins = KEYS[12], KEYS[13]
  local asked = cjson.decode(text)
  -- The longest time ahead that a cool-down or a probe is believed, and how soon to ask again while a probe is under way.
  local LONGEST_MS, PROBE_WAIT_MS = 900000, 100

  local function repair(key, field)
    if field then
      redis.call('HDEL', key, field)
    else
      redis.call('DEL', key)
    end
    journal_entry('pacing_repaired', '', 'key', key, 'field', field or '')
  end

  local function read(field, stored)
    local readable, found = pcall(cjson.decode, stored)
    if readable and type(found) == 'table' and type(found['until']) == 'number' and type(found.since) == 'number'
        and type(found.chosen) == 'number' and type(found.why) == 'string' and type(found.probe) == 'string'
        and type(found.probe_until) == 'number' then
      return found
    end
    repair(cool_downs, field)
  end

  -- The cool-downs of the bucket and of the host, in this order, each with its key.
  local function load_cool_downs()
    local keys, found = {asked.bucket, asked.host}, {}
    local stored = redis.pcall('HMGET', cool_downs, unpack(keys))
    if stored.err then
      repair(cool_downs)
      return found
    end
    for number, key in ipairs(keys) do
      local cool_down = stored[number] and read(key, stored[number])
      if cool_down then
        found[#found + 1] = {key, cool_down}
      end
    end
    return found
  end

  local function save(key, cool_down)
    redis.call('HSET', cool_downs, key, cjson.encode(cool_down))
  end

  local function left(at)
    return at - now <= LONGEST_MS and at - now or 0
  end

  -- What keeps an attempt of this run from beginning, as a reply; nil when nothing does. Then come the cool-downs that it
  -- is the probe of.
  local function heed_cool_downs(token)
    local found = asked.passes and {} or load_cool_downs()
    local longest, why = 0, ''
    for _, each in ipairs(found) do
      local cool_down = each[2]
      if left(cool_down['until']) > longest then
        longest, why = left(cool_down['until']), cool_down.why
      end
    end
    if longest > 0 then
      return {'throttled', 'cool_down', tostring(longest), why}
    end
    for _, each in ipairs(found) do
      local cool_down = each[2]
      if cool_down.probe ~= '' and cool_down.probe ~= token and left(cool_down.probe_until) > 0 then
        return {'throttled', 'probe', tostring(PROBE_WAIT_MS), cool_down.why}
      end
    end
    return nil, found
  end

  -- In each limit, `most` is how many attempts of this urgency may begin within `span_ms`.
  local function heed_limits()
    local longest, number = 0, 0
    for index, limit in ipairs(asked.limits) do
      local at = redis.pcall('LINDEX', begins, -limit.most)
      local begun_at = type(at) == 'string' and tonumber(at)
      if at and (not begun_at or begun_at > now) then
        repair(begins)
        return nil
      end
      if at and begun_at + limit.span_ms - now > longest then
        longest, number = begun_at + limit.span_ms - now, index
      end
    end
    if longest > 0 then
      return {'throttled', 'rate_limit', tostring(longest), tostring(number - 1)}
    end
  end

  local function heed(token)
    local brake, probed = heed_cool_downs(token)
    return brake or heed_limits(), probed
  end

  -- Whether an attempt that has begun is a probe; also one that shows nothing any more, because others wait until it is
  -- done.
  local function is_probe(token)
    for _, each in ipairs(asked.passes and {} or load_cool_downs()) do
      if each[2].probe == token or each[2].probe == '?' .. token then
        return true
      end
    end
    return false
  end

  -- Counts an attempt that begins now. Returns whether it is a probe.
  local function count(probed, token, lease_ms)
    if #asked.limits > 0 then
      local size = redis.call('RPUSH', begins, string.format('%.0f', now))
      -- Two at once, so that a limit that was lowered is soon the size of the list.
      for _ = 1, math.min(2, size - asked.keep) do
        redis.call('LPOP', begins)
      end
      redis.call('PEXPIRE', begins, asked.keep_ms)
    end
    for _, each in ipairs(probed) do
      local key, cool_down = unpack(each)
      cool_down.probe, cool_down.probe_until = token, now + math.min(tonumber(lease_ms), LONGEST_MS)
      save(key, cool_down)
    end
    return #probed > 0
  end

  -- Writes down that an answer asks to wait, from now on.
  local function begin_cool_down(key, cool_down, ms)
    local told = asked.cool_down
    cool_down['until'], cool_down.since, cool_down.why, cool_down.probe, cool_down.probe_until = now + ms, now, told.why, '', 0
    save(key, cool_down)
    journal_entry('cool_down', '', 'key', key, 'until', string.format('%.0f', now + ms), 'why', told.why)
  end

  -- The probe's answer asks to wait again: twice as long, where the ledger chooses.
  local function renew(key, cool_down)
    local told = asked.cool_down
    if not told.ms then
      cool_down.chosen = math.max(told.first_ms, math.min(cool_down.chosen * 2, told.longest_ms))
    end
    begin_cool_down(key, cool_down, told.ms or cool_down.chosen)
  end

  -- Any other answer asks to wait: of those to what was sent before the cool-down began, the one that lasts longest counts.
  local function extend(key, cool_down)
    local told = asked.cool_down
    local chosen = not told.ms and math.max(told.first_ms, cool_down and cool_down.chosen or 0)
    local ms = told.ms or chosen
    if not cool_down then
      begin_cool_down(key, {chosen = chosen or 0, by_address = told.by_address}, ms)
    elseif ms > left(cool_down['until']) then
      cool_down['until'], cool_down.why = now + ms, told.why
      cool_down.chosen = chosen or cool_down.chosen
      -- What a probe hears that was sent before this is no evidence any more; until then it is still the only one.
      if cool_down.probe ~= '' and string.sub(cool_down.probe, 1, 1) ~= '?' then
        cool_down.probe = '?' .. cool_down.probe
      end
      save(key, cool_down)
    end
  end

  -- Records what an attempt's response says about those that follow. A probe's ends the cool-downs that it does not renew;
  -- where it does not say for what the cool-down is, it renews those that it probes and begins none.
  local function record_fate(token)
    local told, found = asked.cool_down, load_cool_downs()
    local named = told and told.by_address ~= nil and (told.by_address and asked.host or asked.bucket)
    local of_named, renewed
    for _, each in ipairs(found) do
      local key, cool_down = unpack(each)
      of_named = key == named and cool_down or of_named
      if cool_down.probe == token then
        if told and (key == named or not named) then
          renew(key, cool_down)
          renewed = true
        else
          redis.call('HDEL', cool_downs, key)
        end
      elseif cool_down.probe == '?' .. token then
        cool_down.probe, cool_down.probe_until = '', 0
        save(key, cool_down)
      end
    end
    if named and not renewed then
      extend(named, of_named)
    end
  end

  return {heed = heed, count = count, is_probe = is_probe, record_fate = record_fate}
end
