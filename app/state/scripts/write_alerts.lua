-- Writes how the alerts stand, if the writer still has the lead.
--
-- KEYS[1]  the lease: who has the lead (string)     TTL: its own
-- KEYS[2]  the alerts (string)                      TTL: ARGV[3] seconds
-- ARGV[1]  who writes
-- ARGV[2]  the alerts, encoded (bytes, opaque here)
-- ARGV[3]  time to live, seconds
--
-- Returns  1 written, 0 the lead is somebody else's, or nobody's.
--
-- Atomic because a leader that was halted for longer than its lease must not overwrite what the next one has told.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'EX', tonumber(ARGV[3]))
return 1
