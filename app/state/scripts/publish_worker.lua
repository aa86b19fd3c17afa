-- Publishes the figures of one worker and keeps the index of live workers.
--
-- KEYS[1]  figures of this worker (string)          TTL: ARGV[2] seconds
-- KEYS[2]  index of workers (sorted set: worker id -> Unix second at which its figures expire)
--                                                   TTL: ARGV[2] seconds
-- ARGV[1]  figures, encoded (bytes, opaque here)
-- ARGV[2]  time to live, seconds
-- ARGV[3]  worker id, the member in the index
--
-- Returns  the number of workers in the index (integer).
--
-- Atomic because figures without an index entry would never be read, and an index entry that outlives the last EXPIRE
-- of the index would be lost with it. The clock is the server's, so that replicas with wrong clocks agree.

local ttl_s = tonumber(ARGV[2])
local now_s = tonumber(redis.call('TIME')[1])

redis.call('SET', KEYS[1], ARGV[1], 'EX', ttl_s)
redis.call('ZADD', KEYS[2], now_s + ttl_s, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_s)
redis.call('EXPIRE', KEYS[2], ttl_s)
return redis.call('ZCARD', KEYS[2])
