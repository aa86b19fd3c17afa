-- Turns what a request has reserved into what it has used, and frees its slot. Begins with ledger.lua.
--
-- KEYS[1] - [9]  as admit.lua; the mean of KEYS[9] is updated                 TTL: ARGV[16]
-- ARGV[1]  request id
-- ARGV[2]  id of the API key, or of the caller that has none
-- ARGV[3]  the model, as a word
-- ARGV[4]  1: its admission is known to have been made here; 0: the store was away, or may have been
-- ARGV[5]  1: this settlement was sent before and may have been made
-- ARGV[6] [7] [8] [9]  used: input, cache-write, cache-read, output tokens
-- ARGV[10] cost, nano-dollars
-- ARGV[11] 1: what was used is estimated
-- ARGV[12] 1: the answer is complete, so its length counts for the mean
-- ARGV[13] how many requests this was: 1; 0 when the upstream was not called after all; more for a sum over requests
--          that were admitted while the store was away
-- ARGV[14] how many answers came without a call of their own, from the response cache or from another request's call:
--          only the usage tells of them
-- ARGV[15] time to live in seconds of the note that it is settled
-- ARGV[16] [17] [18] times to live in seconds: state, spend, usage
--
-- Returns  {request id, what}: settled; already (it was before, nothing was done)
--
-- Atomic because a settlement that is repeated, or comes after its lease ran out, must count once.

local request_id, key_id, model = ARGV[1], ARGV[2], ARGV[3]
local now = now_us()
local ttl = { state = tonumber(ARGV[16]), spend = tonumber(ARGV[17]), usage = tonumber(ARGV[18]) }
local own = { rates = KEYS[2], spend = KEYS[4], live = KEYS[6] }
local tenant = { rates = KEYS[3], spend = KEYS[5], live = KEYS[7] }

local values = call('MGET', KEYS[1], KEYS[2], KEYS[4], KEYS[3], KEYS[5], KEYS[9])
local lease = read_lease(values[1])
if lease and lease.state == 'S' then
  return { request_id, 'already' }
end
local requests, ended = tonumber(ARGV[13]), false
local taken = 1
if lease then
  ended = lease.state == 'X'
elseif ARGV[4] == '1' and ARGV[5] == '1' then
  return { request_id, 'already' }  -- it was made, so long ago that the note of it is gone
else
  taken = ARGV[4] == '1' and requests or 0  -- lost with the lease, or never taken
  lease = { input = 0, output = 0, reserved = 0, charged = 0 }
end
-- First what fails if another type stands there, and then the note that it is settled: nothing is undone, and a
-- settlement that fails further on must not count again.
call('ZREM', own.live, request_id)
call('ZREM', tenant.live, request_id)
call('SET', KEYS[1], 'S', 'EX', tonumber(ARGV[15]))
local input, written, read, output = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local cost = tonumber(ARGV[10])
for at, scope in ipairs({ own, tenant }) do
  correct_rates(scope.rates, values[2 * at], requests - taken, input + written - lease.input, output - lease.output,
    ttl.state)
  correct_spend(scope.spend, values[2 * at + 1], now, cost - lease.charged, -lease.reserved, ttl.spend)
end
local counts = {
  requests = requests, hits = tonumber(ARGV[14]), input = input, cache_write = written, cache_read = read,
  output = output, cost = cost, estimated = ARGV[11] == '1' and cost or 0,
}
if ended then
  counts.requests, counts.input = counts.requests - 1, counts.input - lease.told_input
  counts.output, counts.cost = counts.output - lease.told_output, counts.cost - lease.charged
  counts.estimated = counts.estimated - lease.charged
end
add_usage(KEYS[8], now, model, counts, ttl.usage)
if ARGV[12] == '1' then
  local mean = tonumber(match(values[6] or '', '^%d+$'))
  call('SET', KEYS[9], text(mean and mean + (output - mean) / 8 or output), 'EX', ttl.state)
end
return { request_id, 'settled' }
