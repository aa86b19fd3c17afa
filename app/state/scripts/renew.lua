-- Prolongs the lease of a request that still runs, and puts back a lease that was lost or had run out. Begins with
-- ledger.lua.
--
-- KEYS[1] - [8]  as admit.lua, [9] is not used
-- ARGV[1]  request id
-- ARGV[2]  id of the API key, or of the caller that has none
-- ARGV[3]  the model, as a word
-- ARGV[4] [5] [6]  what the request had reserved: input tokens, output tokens, nano-dollars; taken again if it was lost
-- ARGV[7] [8] [9]  what it has used so far: input tokens, output tokens, nano-dollars
-- ARGV[10] bound of its output tokens
-- ARGV[11] [12] [13] times to live in seconds: state, spend, usage
-- ARGV[14] time to live of the lease, us
--
-- Returns  {request id, what}: renewed, restored (it was lost, or charged as ended), settled (nothing was done)
--
-- Atomic because the rates are topped up by what was reported beyond the reservation, which must be counted once.

local request_id, key_id = ARGV[1], ARGV[2]
local now = now_us()
local ttl = { state = tonumber(ARGV[11]), spend = tonumber(ARGV[12]), usage = tonumber(ARGV[13]) }
local own = { rates = KEYS[2], spend = KEYS[4], live = KEYS[6], usage = KEYS[8] }
local tenant = { rates = KEYS[3], spend = KEYS[5], live = KEYS[7] }

local lease = read_lease(call('GET', KEYS[1]))
if lease and lease.state == 'S' then
  return { request_id, 'settled' }
end
for _, scope in ipairs({ own, tenant }) do  -- first what fails if another type stands there: nothing is undone
  call('ZADD', scope.live, text(now + tonumber(ARGV[14])), request_id)
  call('EXPIRE', scope.live, ttl.spend)
end
local what = 'renewed'
local input, output, spent, reserved = 0, 0, 0, 0
if not lease then
  what = 'restored'
  lease = { key_id = key_id, model = ARGV[3], input = 0, output = 0, reserved = 0, charged = 0,
    max_tokens = tonumber(ARGV[10]) }
  input, output, reserved = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
elseif lease.state == 'X' then
  what = 'restored'
  add_usage(KEYS[8], now, lease.model, {
    requests = -1, input = -lease.told_input, output = -lease.told_output, cost = -lease.charged,
    estimated = -lease.charged,
  }, ttl.usage)
  spent, reserved = -lease.charged, tonumber(ARGV[6])
end
lease.told_input, lease.told_output, lease.told_cost = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
input = max(input, lease.told_input - lease.input)
output = max(output, lease.told_output - lease.output)
for _, scope in ipairs({ own, tenant }) do
  local values = call('MGET', scope.rates, scope.spend)
  correct_rates(scope.rates, values[1], 0, max(0, input), max(0, output), ttl.state)
  correct_spend(scope.spend, values[2], now, spent, reserved, ttl.spend)
end
lease.state = 'A'
lease.input, lease.output = lease.input + max(0, input), lease.output + max(0, output)
lease.reserved, lease.charged = lease.reserved + reserved, lease.charged + spent
write_lease(KEYS[1], lease, ttl.spend)
return { request_id, what }
