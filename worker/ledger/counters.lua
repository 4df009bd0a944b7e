-- How much was withdrawn within a time: counters of withdrawals, each counted once, at its first begin. This file is put
-- in front of transitions.lua and shares its KEYS and ARGV.
--
-- KEYS[8]        the sums, a hash: a counter's key to the sum of its amounts
-- KEYS[8]:<key>  a counter, a sorted set: "<amount>:<command id>" by when it was counted
--
-- An amount is written "<units>:<billionths>", two whole numbers: a Lua number is a binary float, which is exact for whole
-- numbers below 2^53, and no amount is ever one alone. Workers round amounts up and limits down to billionths.
--
-- The functions are made when they are needed, because making them would cost each other command some microseconds.

local function withdrawal_counters()
  local sums = KEYS[8]
  local BILLION = 1000000000
  -- How many entries one call takes out of a counter, or looks at to say when there is room again.
  local EXPIRED_AT_ONCE, LOOKED_AT = 5000, 1000

  local function read_amount(text)
    local units, billionths = string.match(text, '^(%d+):(%d+)')
    return units and {tonumber(units), tonumber(billionths)}
  end

  local function written(amount)
    return string.format('%.0f:%.0f', amount[1], amount[2])
  end

  local function plus(a, b)
    local billionths = a[2] + b[2]
    local carry = billionths >= BILLION and 1 or 0
    return {a[1] + b[1] + carry, billionths - carry * BILLION}
  end

  local function minus(a, b)
    local borrow = a[2] < b[2] and 1 or 0
    local units = a[1] - b[1] - borrow
    return units < 0 and {0, 0} or {units, a[2] - b[2] + borrow * BILLION}
  end

  local function exceeds(a, b)
    return a[1] > b[1] or (a[1] == b[1] and a[2] > b[2])
  end

  -- A counter as it is stored, or nil when it can't be trusted: another type, a sum that is gone, an entry without an amount.
  local function load_counter(key)
    local name = sums .. ':' .. key
    local size, sum = redis.pcall('ZCARD', name), redis.pcall('HGET', sums, key)
    if type(size) ~= 'number' or type(sum) == 'table' then
      return nil
    end
    if size == 0 then
      sum = '0:0'  -- an empty counter is gone, perhaps by its expiry
    end
    local amount = sum and read_amount(sum)
    return amount and {name = name, key = key, size = size, sum = amount}
  end

  local function save_sum(counter)
    if counter.size == 0 then
      redis.call('HDEL', sums, counter.key)
    else
      redis.call('HSET', sums, counter.key, written(counter.sum))
    end
  end

  -- A counter without what is older than its window, or nil when it can't be trusted.
  local function current_counter(key, window_ms, now)
    local counter = load_counter(key)
    if not counter or counter.size == 0 then
      return counter
    end
    local expired = redis.call('ZRANGEBYSCORE', counter.name, '-inf', now - window_ms, 'LIMIT', 0, EXPIRED_AT_ONCE)
    for _, entry in ipairs(expired) do
      local amount = read_amount(entry)
      if not amount then
        return nil
      end
      counter.sum = minus(counter.sum, amount)
    end
    if #expired > 0 then
      redis.call('ZREMRANGEBYRANK', counter.name, 0, #expired - 1)
      counter.size = counter.size - #expired
      counter.sum = counter.size == 0 and {0, 0} or counter.sum
      save_sum(counter)
    end
    return counter
  end

  -- When enough will have left the counter for another amount, UNIX ms; '' when that is never, or too far off to be looked for.
  local function room_at(counter, limit, amount)
    local sum, size = counter.sum, counter.size
    local entries = redis.call('ZRANGE', counter.name, 0, LOOKED_AT - 1, 'WITHSCORES')
    for at = 1, #entries, 2 do
      sum, size = minus(sum, read_amount(entries[at]) or {0, 0}), size - 1
      if not exceeds(plus(sum, amount), limit.total) and size < limit.count then
        return string.format('%.0f', tonumber(entries[at + 1]) + limit.window_ms)
      end
    end
    return ''
  end

  local function read_limits(text)
    local asked = cjson.decode(text)
    asked.amount = read_amount(asked.amount)
    for _, limit in ipairs(asked.limits) do
      limit.total = read_amount(limit.total)
      limit.count = limit.count or math.huge
    end
    return asked
  end

  -- The reply to a first begin that one of its limits forbids, which it names by its place among them; nil when none does.
  -- Nothing is counted yet.
  local function over_limit(asked, id, now)
    local entry = written(asked.amount) .. ':' .. id
    local counters = {}
    for number, limit in ipairs(asked.limits) do
      local counter = counters[limit.key] or current_counter(limit.key, limit.window_ms, now)
      if not counter then
        return {'denied', tostring(number - 1), 'damaged', ''}
      end
      counters[limit.key] = counter
      -- Its record was lost after it was counted: it does not stand in its own way.
      if not redis.call('ZSCORE', counter.name, entry) then
        if counter.size >= limit.count then
          return {'denied', tostring(number - 1), 'count', room_at(counter, limit, asked.amount)}
        end
        if exceeds(plus(counter.sum, asked.amount), limit.total) then
          return {'denied', tostring(number - 1), 'total', room_at(counter, limit, asked.amount)}
        end
      end
    end
    return nil
  end

  -- Counts a withdrawal under each of these limits' counters, once, and returns what its record must remember.
  local function count_withdrawal(asked, id, now)
    local entry = written(asked.amount) .. ':' .. id
    local keys, seen = {}, {}
    for _, limit in ipairs(asked.limits) do
      local counter = not seen[limit.key] and current_counter(limit.key, limit.window_ms, now)
      seen[limit.key] = true
      if counter then
        keys[#keys + 1] = limit.key
        if redis.call('ZADD', counter.name, 'NX', now, entry) == 1 then
          counter.sum, counter.size = plus(counter.sum, asked.amount), counter.size + 1
          save_sum(counter)
        end
        redis.call('PEXPIRE', counter.name, limit.window_ms)
      end
    end
    return cjson.encode({entry = entry, keys = keys})
  end

  -- A withdrawal is proven not executed: what its record remembers leaves the counters it is still in.
  local function give_back(counted)
    local remembered = cjson.decode(counted)
    for _, key in ipairs(remembered.keys) do
      local counter = load_counter(key)
      if counter and redis.call('ZREM', counter.name, remembered.entry) == 1 then
        counter.sum, counter.size = minus(counter.sum, read_amount(remembered.entry)), counter.size - 1
        save_sum(counter)
      end
    end
  end

  return {read_limits = read_limits, over_limit = over_limit, count = count_withdrawal, give_back = give_back}
end
