-- Returns the secret that all replicas share, and makes it the first time.
--
-- KEYS[1]  the secret (string)                      TTL: ARGV[2] seconds, counted from the last time it was asked for
-- ARGV[1]  a candidate (bytes), kept when there is no secret yet
-- ARGV[2]  time to live, seconds
--
-- Returns  the secret (bytes): the kept one, or the candidate that has just become it.
--
-- Atomic because two replicas that start together must end up with the same secret.

local secret = redis.call('GET', KEYS[1])
if not secret then
  secret = ARGV[1]
end
redis.call('SET', KEYS[1], secret, 'EX', tonumber(ARGV[2]))
return secret
