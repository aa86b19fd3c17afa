-- The ledger that admit.lua, renew.lua and settle.lua share: token buckets, spend, leases. Not a script of its own: it
-- stands before theirs, has no KEYS and ARGV, and returns nothing.
--
-- Units: times are Unix microseconds on the server's clock; money is integer nano-dollars; a bucket counts in units of a
-- 60-millionth of a token, so that a limit per minute refills by a whole number of units each microsecond. All numbers
-- stay below 2^53 and are written by '%.0f': Lua would print them as 1.79e+15. What cannot be read counts as absent.
--
-- Values (words with spaces between them; '-' is not set):
--   rates   <at> <requests> <input> <output>               balances in units, as of <at>; may be negative
--   spend   <day> <of the day> <month> <of the month> <in all> <reserved>
--                                                          day since 1970, month since year 0, the rest nano-dollars
--   lease   A <key id> <model> <input> <output> <reserved> <charged> <input> <output> <cost> <max tokens>
--           X ...                                          it ran out, and was charged at its last report
--           S                                              settled
--           The first pair of tokens is what was taken from the rates, the second what was last reported.

local UNIT = 60000000
local DAY_US = 86400000000

local format, match = string.format, string.match
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local call = redis.call

local function text(number)
  return format('%.0f', number)
end

local function now_us()
  local time = call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Months since year 0 of a day, and the day on which the next month begins (civil calendar, proleptic Gregorian).
local function month_of(day)
  local z = day + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local first = day - (doy - floor((153 * mp + 2) / 5))
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local leap = (year % 4 == 0 and year % 100 ~= 0) or year % 400 == 0
  local days = month == 2 and (leap and 29 or 28) or (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31
  return year * 12 + month - 1, first + days
end

-- Rates

local function read_rates(value)
  local at, requests, input, output = match(value or '', '^(%d+) ([%d-]+) ([%d-]+) ([%d-]+)$')
  return { at = tonumber(at), requests = tonumber(requests), input = tonumber(input), output = tonumber(output) }
end

-- The balance of one bucket now. A clock that went back refills nothing.
local function refill(rates, class, limit, now)
  if not limit then
    rates[class] = nil
  elseif rates[class] and rates.at then
    rates[class] = min(limit * UNIT, rates[class] + max(0, now - rates.at) * limit)
  else
    rates[class] = limit * UNIT
  end
end

local function take(rates, class, tokens)
  if rates[class] then
    rates[class] = rates[class] - tokens * UNIT
  end
end

local function write_rates(key, rates, ttl_s)
  local function word(balance)
    return balance and text(balance) or '-'
  end
  local value = text(rates.at) .. ' ' .. word(rates.requests) .. ' ' .. word(rates.input) .. ' ' .. word(rates.output)
  call('SET', key, value, 'EX', ttl_s)
end

-- Corrects balances that have a value; a scope without limits has none.
local function correct_rates(key, value, requests, input, output, ttl_s)
  local rates = read_rates(value)
  if rates.at and (rates.requests or rates.input or rates.output) and (requests ~= 0 or input ~= 0 or output ~= 0) then
    take(rates, 'requests', requests)
    take(rates, 'input', input)
    take(rates, 'output', output)
    write_rates(key, rates, ttl_s)
  end
end

-- Spend

-- A clock that went back over midnight stays on the later day.
local function read_spend(value, now)
  local day = floor(now / DAY_US)
  local month = month_of(day)
  local words = { match(value or '', '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$') }
  if not words[1] then
    return { day = day, of_day = 0, month = month, of_month = 0, total = 0, reserved = 0 }
  end
  local stored_day, stored_month = tonumber(words[1]), tonumber(words[3])
  return {
    day = max(day, stored_day),
    of_day = stored_day >= day and tonumber(words[2]) or 0,
    month = max(month, stored_month),
    of_month = stored_month >= month and tonumber(words[4]) or 0,
    total = tonumber(words[5]),
    reserved = tonumber(words[6]),
  }
end

local function write_spend(key, spend, ttl_s)
  local value = format('%.0f %.0f %.0f %.0f %.0f %.0f', spend.day, spend.of_day, spend.month, spend.of_month,
    spend.total, spend.reserved)
  call('SET', key, value, 'EX', ttl_s)
end

local function correct_spend(key, value, now, spent, reserved, ttl_s)
  if spent ~= 0 or reserved ~= 0 then
    local spend = read_spend(value, now)
    spend.of_day = max(0, spend.of_day + spent)
    spend.of_month = max(0, spend.of_month + spent)
    spend.total = max(0, spend.total + spent)
    spend.reserved = max(0, spend.reserved + reserved)
    write_spend(key, spend, ttl_s)
  end
end

-- Leases

local function read_lease(value)
  if value == 'S' then
    return { state = 'S' }
  end
  local words = { match(value or '',
    '^([AX]) (%S+) (%S+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$') }
  if not words[1] then
    return nil
  end
  return {
    state = words[1], key_id = words[2], model = words[3],
    input = tonumber(words[4]), output = tonumber(words[5]), reserved = tonumber(words[6]),
    charged = tonumber(words[7]), told_input = tonumber(words[8]), told_output = tonumber(words[9]),
    told_cost = tonumber(words[10]), max_tokens = tonumber(words[11]),
  }
end

local function write_lease(key, lease, ttl_s)
  local value = format('%s %s %s %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f', lease.state, lease.key_id, lease.model,
    lease.input, lease.output, lease.reserved, lease.charged, lease.told_input, lease.told_output, lease.told_cost,
    lease.max_tokens)
  call('SET', key, value, 'EX', ttl_s)
end

-- The names of a tenant's keys for one of its API keys, from our own: they differ in the id at their end.
local function names_of(own, own_id, key_id)
  local names = {}
  for kind, name in pairs(own) do
    names[kind] = string.sub(name, 1, #name - #own_id) .. key_id
  end
  return names
end

-- Adds to the usage of a day: whole numbers by class; the key of the day is the given beginning and the day. Its time to
-- live counts from its first entry, as a day ends anyway.
local function add_usage(begins, now, model, counts, ttl_s)
  local key = begins .. text(floor(now / DAY_US))
  local is_new = false
  for class, count in pairs(counts) do
    if count ~= 0 then
      local field = model .. ' ' .. class
      local sum = redis.pcall('HINCRBY', key, field, text(count))
      if type(sum) == 'table' then  -- what stands there cannot be read; an error here would undo nothing of the rest
        call('HSET', key, field, text(count))
        sum = count
      end
      is_new = sum == count or is_new
    end
  end
  if is_new then
    call('EXPIRE', key, ttl_s)
  end
end

-- Charges the leases of a tenant that ran out (their worker was killed, or cut off) at their last report.
--   own      names of the caller's keys: rates, spend, live, usage (the last one without its day)
--   own_id   the id at the end of those of `own` that have one
--   tenant   names of the tenant's keys: rates, spend, live
--   ttl      seconds: state, spend, usage
-- Returns whether these were all.
local SWEEP = 32
local function sweep(own, own_id, tenant, lease_key, request_id, now, ttl)
  local ended = call('ZRANGEBYSCORE', tenant.live, '-inf', text(now), 'LIMIT', 0, SWEEP)
  for _, ended_id in ipairs(ended) do
    call('ZREM', tenant.live, ended_id)
    local key = string.sub(lease_key, 1, #lease_key - #request_id) .. ended_id
    local lease = read_lease(call('GET', key))
    if lease and lease.state == 'A' then
      local names = names_of({ rates = own.rates, spend = own.spend, live = own.live }, own_id, lease.key_id)
      call('ZREM', names.live, ended_id)
      for _, scope in ipairs({ names, tenant }) do
        local values = call('MGET', scope.rates, scope.spend)
        correct_rates(scope.rates, values[1], 0, lease.told_input - lease.input, lease.told_output - lease.output,
          ttl.state)
        correct_spend(scope.spend, values[2], now, lease.told_cost, -lease.reserved, ttl.spend)
      end
      local begins = string.sub(own.usage, 1, #own.usage - #own_id - 1) .. lease.key_id .. ':'
      add_usage(begins, now, lease.model, {
        requests = 1, input = lease.told_input, output = lease.told_output, cost = lease.told_cost,
        estimated = lease.told_cost,
      }, ttl.usage)
      lease.state = 'X'
      lease.input, lease.output = lease.told_input, lease.told_output
      lease.charged, lease.reserved = lease.told_cost, 0
      write_lease(key, lease, ttl.state)
    end
  end
  return #ended < SWEEP
end
