-- Takes the lead, or keeps it: whoever holds it evaluates alerts for all replicas.
--
-- KEYS[1]  the lease: who holds it (string)         TTL: ARGV[2] seconds, from the last time its holder asked
-- ARGV[1]  who asks: a token that nobody else has
-- ARGV[2]  time to live, seconds
--
-- Returns  {2 it was theirs and is prolonged, 1 it is theirs from now on, 0 it is somebody else's; Unix seconds of the
--          server; microseconds of that second}; the times as the server writes them, so that all go by one clock.
--
-- Atomic because of two who ask at the same moment only one may get it.

local holder = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
if holder and holder ~= ARGV[1] then
  return { 0, time[1], time[2] }
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', tonumber(ARGV[2]))
return { holder and 2 or 1, time[1], time[2] }
