-- Counts one wrong key that a client address (or an IPv6 network) tried.
--
-- KEYS[1]  wrong keys in this window (string)        TTL: ARGV[1] seconds, counted from the first of them
-- ARGV[1]  length of the window, seconds
--
-- Returns  {count with this one, milliseconds until the window ends} (integers).
--
-- Atomic because a counter that lost its EXPIRE between two commands would lock an address out for ever.

local count = redis.call('INCR', KEYS[1])
local left_ms = redis.call('PTTL', KEYS[1])
if left_ms < 0 then
  left_ms = tonumber(ARGV[1]) * 1000
  redis.call('PEXPIRE', KEYS[1], left_ms)
end
return {count, left_ms}
