-- Tells which session would have to go for a new one. Reads only. Begins with session.lua.
--
-- KEYS[1]  index of the tenant's sessions (sorted set: member -> Unix us of expiry)      TTL: stays
-- ARGV[1]  the member of the session that may be new
--
-- Returns  {1 it is live already, else 0; live sessions; the member that has been idle longest, '' without any}
--
-- Atomic because what is live depends on the server's clock, and all three must be of one moment.

local now = now_us()
local live_from = '(' .. text(now)
local expiry = tonumber(call('ZSCORE', KEYS[1], ARGV[1]) or 0)
local longest_idle = call('ZRANGEBYSCORE', KEYS[1], live_from, '+inf', 'LIMIT', 0, 1)
return { expiry > now and 1 or 0, call('ZCOUNT', KEYS[1], live_from, '+inf'), longest_idle[1] or '' }
