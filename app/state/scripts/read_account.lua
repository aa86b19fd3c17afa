-- How an API key and its tenant stand at this moment, and what the key has used by day. Begins with ledger.lua.
--
-- KEYS[1]  beginning of the names of the tenant's leases (strings)            TTL: ARGV[6] seconds
-- KEYS[2]  rates of the API key (string)                                      TTL: ARGV[6]
-- KEYS[3]  rates of the tenant (string)                                       TTL: ARGV[6]
-- KEYS[4]  spend of the API key (string)                                      TTL: ARGV[7]
-- KEYS[5]  spend of the tenant (string)                                       TTL: ARGV[7]
-- KEYS[6]  live leases of the API key (sorted set: request id -> end, us)
-- KEYS[7]  live leases of the tenant (the same)
-- KEYS[8]  beginning of the names of the API key's usage by day (hashes)      TTL: ARGV[8]
-- KEYS[9]  record of the API key (hash), read only
-- Leases that ran out are charged first, as the next admission would do it: only then is anything written, and keys of
-- the tenant's other API keys are touched, too (see admit.lua). Everything else is refilled and rolled over in passing.
--
-- ARGV[1]  id of the call
-- ARGV[2]  id of the API key, or of the caller that has none; '*' for the tenant, with the tenant's keys in place of
--          the API key's
-- ARGV[3]  limits of the API key: requests, input, output, concurrency, and words that are not read here (per minute);
--          '-' is not set
-- ARGV[4]  limits of the tenant, the same
-- ARGV[5]  how many days of usage
-- ARGV[6] [7] [8]  times to live in seconds: state, spend, usage
-- ARGV[9]  time to live of a lease, us
--
-- Returns  {id of the call, standing of the API key, standing of the tenant, document of the API key or '', today,
--          {usage of today, of the day before, ...}}
--   A standing is {requests in flight, day, spent on the day, month, spent in the month, spent in all, reserved,
--          requests left, us until full, input tokens left, us until full, output tokens left, us until full}: days
--          since 1970, months since year 0, nano-dollars; -1 -1 for a rate without a limit. A usage is a flat list of
--          '<model> <class>' and a whole number.
--
-- Atomic because a settlement in between would show in one number and not in the other.

local now = now_us()
local own = { rates = KEYS[2], spend = KEYS[4], live = KEYS[6], usage = KEYS[8] }
local tenant = { rates = KEYS[3], spend = KEYS[5], live = KEYS[7] }

-- Of a worker that had more streams than these sweeps take, the rest is charged at the next reading or admission.
local SWEEPS = 8
local ttl = { state = tonumber(ARGV[6]), spend = tonumber(ARGV[7]), usage = tonumber(ARGV[8]) }
for _ = 1, SWEEPS do
  if call('ZCOUNT', tenant.live, '-inf', text(now)) == 0 then
    break
  end
  sweep(own, ARGV[2], tenant, KEYS[1], '', now, ttl)
end

local function standing(keys, words)
  local requests, input, output = match(words, '^(%S+) (%S+) (%S+) ')
  local limits = { requests = tonumber(requests), input = tonumber(input), output = tonumber(output) }
  local values = call('MGET', keys.rates, keys.spend)
  local rates, spend = read_rates(values[1]), read_spend(values[2], now)
  -- A lease that ends later than any could is from before a clock went back; admit.lua does not count it either.
  local live = call('ZCOUNT', keys.live, '(' .. text(now), text(now + 2 * tonumber(ARGV[9])))
  local numbers = { live, spend.day, spend.of_day, spend.month, spend.of_month, spend.total, spend.reserved }
  for _, class in ipairs({ 'requests', 'input', 'output' }) do
    local limit = limits[class]
    refill(rates, class, limit, now)
    numbers[#numbers + 1] = limit and max(0, floor(rates[class] / UNIT)) or -1
    numbers[#numbers + 1] = limit and ceil((limit * UNIT - rates[class]) / limit) or -1
  end
  return numbers
end

local today = floor(now / DAY_US)
local used = {}
for ago = 0, tonumber(ARGV[5]) - 1 do
  used[ago + 1] = call('HGETALL', KEYS[8] .. text(today - ago))
end

return {
  ARGV[1], standing(own, ARGV[3]), standing(tenant, ARGV[4]), call('HGET', KEYS[9], 'doc') or '', today, used,
}
