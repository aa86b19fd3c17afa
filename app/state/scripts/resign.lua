-- Gives the lead back, at the end of its holder, so that the next one need not wait for the lease to run out.
--
-- KEYS[1]  the lease: who holds it (string)         TTL: its own; it is deleted here
-- ARGV[1]  who gives it back
--
-- Returns  1 given back, 0 it was not theirs.
--
-- Atomic because a lease that has run out, and is somebody else's by now, must stay theirs.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
