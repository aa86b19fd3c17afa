-- Decides on one request, all or nothing, and reserves what it may use. Begins with ledger.lua.
--
-- KEYS[1]  lease of the request (string)              TTL: ARGV[18] seconds, as long as that of the money it holds
-- KEYS[2]  rates of the API key (string)              TTL: ARGV[17]
-- KEYS[3]  rates of the tenant (string)               TTL: ARGV[17]
-- KEYS[4]  spend of the API key (string)              TTL: ARGV[18]
-- KEYS[5]  spend of the tenant (string)               TTL: ARGV[18]
-- KEYS[6]  live leases of the API key (sorted set: request id -> end, us)     TTL: ARGV[18]
-- KEYS[7]  live leases of the tenant (the same)       TTL: ARGV[18]
-- KEYS[8]  beginning of the names of the API key's usage by day (hashes)      TTL: ARGV[19]
-- KEYS[9]  running mean of output tokens of the model (string), read only
-- KEYS[10] record of the API key (hash), read only
-- KEYS[11] seat of the request's session (string), read only; absent without a session
-- Leases that ran out are charged here: the lease, rates, spend, live leases and usage of the tenant's other API keys
-- are touched under names that differ from these in the id at their end only, all in this slot.
--
-- ARGV[1]  request id
-- ARGV[2]  id of the API key, or of the caller that has none
-- ARGV[3]  SHA-256 of the presented key (32 bytes), to be checked against the record; empty: the caller is known
-- ARGV[4]  version of the record that the worker has; 0 none
-- ARGV[5]  the scope that is needed
-- ARGV[6]  what the model is called, names with line ends between them
-- ARGV[7]  limits of the API key where its record sets none: requests, input, output, concurrency (per minute), budget
--          of the day, month, in all (nano-dollars); '-' is not set
-- ARGV[8]  limits of the tenant, the same
-- ARGV[9]  expected input tokens
-- ARGV[10] expected output tokens, as the client's bound; '-': the running mean of the model, else ARGV[11]
-- ARGV[11] expected output tokens of a model that has no mean
-- ARGV[12] the model, as a word
-- ARGV[13] cost of the input at worst, nano-dollars; '-': cannot be bounded
-- ARGV[14] cost of an output token at worst, nano-dollars
-- ARGV[15] bound of output tokens, that is asked for
-- ARGV[16] bound of output tokens, that still makes sense; a budget may lower the bound to this
-- ARGV[17] [18] [19] times to live in seconds: state, spend, usage
-- ARGV[20] time to live of the lease, us
-- ARGV[21] expected cost of the input, nano-dollars: what the lease is charged at if nothing is ever reported
-- ARGV[22] how many answers are asked for; a bound of output tokens is that of one
-- ARGV[23] [24] cost of a token of the session's history, nano-dollars: at worst, and expected
--
-- Returns  {request id, verdict, ...}:
--   unknown_key | revoked | expired | scope | model
--   damaged                   the record of the API key cannot be read: nobody knows what it may do
--   settled                   this request was settled already
--   admitted | limited | unbounded, then
--     [3]  which limit refused (see below), or ''
--     [4]  us until it frees up; -1 never, or not refused
--     [5]  version of the record, 0 without one;  [6] the record, where its version is not ARGV[4], else ''
--     [7] [8] [9]     requests a minute: limit, left, us until full; -1 -1 -1 without a limit
--     [10] [11] [12]  input and output tokens together, the same
--     [13] bound of output tokens that is granted
--     [14] [15]  nano-dollars left to the API key, to the tenant; -1 without a budget
--     [16] [17] [18]  reserved: input tokens, output tokens, nano-dollars
--   Limits: key or tenant, a dot, then requests, input, output, concurrency, budget_day, budget_month, budget_total or
--   budget_reserved (what is spent would do, what running requests hold is missing).
--
-- Atomic because two requests must not both take what is left for one. A refusal takes nothing. Called again with the
-- same request id it answers as before and takes nothing more.

local request_id, key_id = ARGV[1], ARGV[2]
local now = now_us()
local ttl = { state = tonumber(ARGV[17]), spend = tonumber(ARGV[18]), usage = tonumber(ARGV[19]) }
local lease_us = tonumber(ARGV[20])

-- The API key

-- In a time that does not depend on where they differ.
local function equal(one, other)
  if #one ~= #other then
    return false
  end
  local difference = 0
  for at = 1, #one do
    local d = string.byte(one, at) - string.byte(other, at)
    difference = difference + d * d
  end
  return difference == 0
end

local function has_word(list, word)
  return string.find(' ' .. list .. ' ', ' ' .. word .. ' ', 1, true) ~= nil
end

local function covers(patterns, names)
  if patterns == '' then
    return true
  end
  for pattern in string.gmatch(patterns, '[^\n]+') do
    local stem = string.sub(pattern, -1) == '*' and string.sub(pattern, 1, -2) or nil
    for name in string.gmatch(names, '[^\n]+') do
      if name == pattern or (stem and string.sub(name, 1, #stem) == stem) then
        return true
      end
    end
  end
  return false
end

local SEVEN = '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$'

local function are_limits(words)
  for word in string.gmatch(words, '%S+') do
    if word ~= '-' and not match(word, '^%d+$') then
      return false
    end
  end
  return match(words, SEVEN) ~= nil
end

local version, document, stored_limits = 0, '', ''
if ARGV[3] ~= '' then
  local record = call('HMGET', KEYS[10], 'hash', 'prev', 'prev_until_us', 'expires_us', 'revoked', 'version',
    'scopes', 'models', 'limits')
  version = tonumber(record[6] or '') or 0
  if not record[1] or not (version >= 1) then
    return { request_id, 'unknown_key' }
  end
  local is_previous = record[2] and record[2] ~= '' and now < (tonumber(record[3]) or 0) and equal(record[2], ARGV[3])
  if not equal(record[1], ARGV[3]) and not is_previous then
    return { request_id, 'unknown_key' }
  end
  if record[5] ~= '0' then
    return { request_id, 'revoked' }
  end
  local expires = tonumber(record[4] or '')
  if not expires or not record[7] or not record[8] or not are_limits(record[9] or '') then
    return { request_id, 'damaged' }
  end
  if expires > 0 and now >= expires then
    return { request_id, 'expired' }
  end
  if not has_word(record[7], ARGV[5]) then
    return { request_id, 'scope' }
  end
  if not covers(record[8], ARGV[6]) then
    return { request_id, 'model' }
  end
  if version ~= tonumber(ARGV[4]) then
    document = call('HGET', KEYS[10], 'doc') or ''
  end
  stored_limits = record[9]
end

-- Limits and balances of the API key and of its tenant

-- The first of two words that is a limit. Rates are at least 1: numbers are divided by them.
local function limit(least, word, other)
  local number = tonumber(word)
  if number and number % 1 == 0 and number >= least then
    return number
  end
  return other and limit(least, other)
end

local function limits_of(first, second)
  local r, i, o, c, d, m, t = match(first, SEVEN)
  local r2, i2, o2, c2, d2, m2, t2 = match(second, SEVEN)
  return {
    requests = limit(1, r, r2), input = limit(1, i, i2), output = limit(1, o, o2), concurrency = limit(1, c, c2),
    budget_day = limit(0, d, d2), budget_month = limit(0, m, m2), budget_total = limit(0, t, t2),
  }
end

local own = { rates = KEYS[2], spend = KEYS[4], live = KEYS[6], usage = KEYS[8] }
local tenant = { rates = KEYS[3], spend = KEYS[5], live = KEYS[7] }
local all_charged = sweep(own, key_id, tenant, KEYS[1], request_id, now, ttl)

local values = call('MGET', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[9], KEYS[11] or KEYS[1])
local before = read_lease(values[1])
if before and before.state == 'S' then
  return { request_id, 'settled' }
end

local scopes = {
  { name = 'key', limits = limits_of(stored_limits, ARGV[7]), keys = own, rates = read_rates(values[2]),
    spend = read_spend(values[4], now) },
  { name = 'tenant', limits = limits_of('', ARGV[8]), keys = tenant, rates = read_rates(values[3]),
    spend = read_spend(values[5], now) },
}
local budgeted = false
for _, scope in ipairs(scopes) do
  local limits = scope.limits
  for _, class in ipairs({ 'requests', 'input', 'output' }) do
    refill(scope.rates, class, limits[class], now)
  end
  scope.rates.at = now
  scope.has_budget = (limits.budget_day or limits.budget_month or limits.budget_total) ~= nil
  budgeted = budgeted or scope.has_budget
end

local BUDGETS = { 'budget_day', 'budget_month', 'budget_total' }
local SPENT = { budget_day = 'of_day', budget_month = 'of_month', budget_total = 'total' }

-- What is left of the budgets of a scope.
local function left_of(scope)
  local left
  for _, name in ipairs(BUDGETS) do
    local budget = scope.limits[name]
    if budget then
      left = min(left or budget, budget - scope.spend[SPENT[name]])
    end
  end
  return left and left - scope.spend.reserved
end

local refusal, wait = '', -1
local function refuse(scope, what, wait_us)
  local is_longer = wait >= 0 and (wait_us < 0 or wait_us > wait)
  if refusal == '' or is_longer then
    refusal, wait = scope.name .. '.' .. what, wait_us
  end
end

local function until_budget_frees(which, now_spend)
  if which == 'budget_day' then
    return (now_spend.day + 1) * DAY_US - now
  elseif which == 'budget_month' then
    local _, next_month = month_of(floor(now / DAY_US))
    return next_month * DAY_US - now
  end
  return -1
end

-- Of whom the reply tells the numbers: the scope with less left.
local function numbers(classes)
  local limit, left, full_in = -1, -1, -1
  for _, scope in ipairs(scopes) do
    local total, rest, slowest, any = 0, 0, 0, false
    for _, class in ipairs(classes) do
      local bound, balance = scope.limits[class], scope.rates[class]
      if bound then
        any = true
        total = total + bound
        rest = rest + max(0, floor(balance / UNIT))
        slowest = max(slowest, ceil((bound * UNIT - balance) / bound))
      end
    end
    if any and (left < 0 or rest < left) then
      limit, left, full_in = total, rest, slowest
    end
  end
  return limit, left, full_in
end

local function reply(verdict, granted, input, output, reserved)
  local r_limit, r_left, r_full = numbers({ 'requests' })
  local t_limit, t_left, t_full = numbers({ 'input', 'output' })
  local left_key, left_tenant = left_of(scopes[1]), left_of(scopes[2])
  return {
    request_id, verdict, refusal, wait, version, document,
    r_limit, r_left, r_full, t_limit, t_left, t_full, granted,
    left_key and max(0, left_key) or -1, left_tenant and max(0, left_tenant) or -1,
    input, output, reserved,
  }
end

if before then
  return reply('admitted', before.max_tokens, before.input, before.output, before.reserved)
end

-- The verdict

local input = tonumber(ARGV[9])
local granted, least = tonumber(ARGV[15]), tonumber(ARGV[16])
local input_cost, token_cost = tonumber(ARGV[13]), tonumber(ARGV[14])
local told_cost = tonumber(ARGV[21])
if KEYS[11] then  -- what the session's history adds to the prompt
  local expected, most = match(values[7] or '', '^(%d+) (%d+)')
  if expected then
    input = input + tonumber(expected)
    input_cost = input_cost and input_cost + tonumber(most) * tonumber(ARGV[23])
    told_cost = told_cost + tonumber(expected) * tonumber(ARGV[24])
  end
end

-- Whether nothing runs: what is reserved all the same was reserved by leases that were lost. Their names stay in the
-- live leases of their API key, as only the lease would tell whose it was.
local function is_idle(scope)
  return all_charged and call('ZCOUNT', scope.keys.live, '(' .. text(now), '+inf') == 0
end

-- What is left of the budgets of a scope, and how many output tokens that affords; -1 not even the input.
local function affordable_for(scope)
  local left = left_of(scope)
  if token_cost > 0 then
    return left, floor((left - input_cost) / token_cost)
  end
  return left, left >= input_cost and granted or -1
end

for _, scope in ipairs(scopes) do
  local limits, rates = scope.limits, scope.rates
  if limits.concurrency then
    -- A lease that ends later than any could is from before a clock went back: its renewal will put it right.
    local live = call('ZCOUNT', scope.keys.live, '(' .. text(now), text(now + 2 * lease_us))
    if live >= limits.concurrency then
      refuse(scope, 'concurrency', 1000000)
    end
  end
  if rates.requests and rates.requests < UNIT then
    refuse(scope, 'requests', ceil((UNIT - rates.requests) / limits.requests))
  end
  for _, class in ipairs({ 'input', 'output' }) do
    if rates[class] and rates[class] <= 0 then
      refuse(scope, class, ceil((1 - rates[class]) / limits[class]))
    end
  end
  if scope.has_budget and not input_cost then
    return reply('unbounded', 0, 0, 0, 0)
  end
  if scope.has_budget then
    local left, affordable = affordable_for(scope)
    if affordable < granted and scope.spend.reserved > 0 and is_idle(scope) then
      scope.spend.reserved = 0
      call('DEL', scope.keys.live)
      write_spend(scope.keys.spend, scope.spend, ttl.spend)
      left, affordable = affordable_for(scope)
    end
    if affordable < granted then
      if affordable >= least then
        granted = affordable
      elseif left + scope.spend.reserved >= input_cost + least * token_cost then
        refuse(scope, 'budget_reserved', 1000000)
      else
        for _, name in ipairs(BUDGETS) do
          if limits[name] and limits[name] - scope.spend[SPENT[name]] < input_cost + least * token_cost then
            refuse(scope, name, until_budget_frees(name, scope.spend))
          end
        end
      end
    end
  end
end

if refusal ~= '' then
  return reply('limited', 0, 0, 0, 0)
end

-- It is admitted: take everything.

local output = tonumber(ARGV[10])
if not output then
  output = tonumber(match(values[6] or '', '^%d+$')) or tonumber(ARGV[11])
end
output = min(output, granted * tonumber(ARGV[22]))
local reserved = budgeted and input_cost + granted * token_cost or 0
for _, scope in ipairs(scopes) do  -- first what fails if another type stands there: nothing is undone
  call('ZADD', scope.keys.live, text(now + lease_us), request_id)
  call('EXPIRE', scope.keys.live, ttl.spend)
end
for _, scope in ipairs(scopes) do
  local limits, rates = scope.limits, scope.rates
  if limits.requests or limits.input or limits.output then
    take(rates, 'requests', 1)
    take(rates, 'input', input)
    take(rates, 'output', output)
    write_rates(scope.keys.rates, rates, ttl.state)
  end
  if budgeted then
    scope.spend.reserved = scope.spend.reserved + reserved
    write_spend(scope.keys.spend, scope.spend, ttl.spend)
  end
end
write_lease(KEYS[1], {
  state = 'A', key_id = key_id, model = ARGV[12], input = input, output = output, reserved = reserved, charged = 0,
  told_input = input, told_output = 0, told_cost = told_cost, max_tokens = granted,
}, ttl.spend)
return reply('admitted', granted, input, output, reserved)
