-- What an API key or a tenant has spent, as the next admission would see it. Begins with ledger.lua. Writes nothing.
--
-- KEYS[1]  spend of the API key, or of the tenant (string)                    TTL: as it is
-- KEYS[2]  record of the API key (hash); there is none of a tenant            TTL: as it is
--
-- ARGV[1]  id of the call
--
-- Returns  {id of the call, spent on this day, in this month, in all (nano-dollars), document of the API key or ''}
--
-- Atomic because a day that ends between the clock and the value would be taken for the next one.

local spend = read_spend(call('MGET', KEYS[1])[1], now_us())
return { ARGV[1], spend.of_day, spend.of_month, spend.total, call('HGET', KEYS[2], 'doc') or '' }
