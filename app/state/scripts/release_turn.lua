-- Gives the lease of a session back without a commit, and wakes who waits for it. Begins with session.lua.
--
-- KEYS[1]  head of the session (hash)                 TTL: ARGV[3]; deleted where there is no session yet
-- KEYS[2]  turns of the session (list)                TTL: ARGV[3]
-- ARGV[1]  who has the lease
-- ARGV[2]  what the session is called in a wake
-- ARGV[3]  time to live of a session, seconds
--
-- Returns  {ARGV[1], 1 given back, 0 it was not theirs}
--
-- Atomic because a lease that somebody else takes at the same moment must stay theirs.

local head = call('HMGET', KEYS[1], 'holder', 'waiters', 'seq')
if head[1] ~= ARGV[1] then
  return { ARGV[1], 0 }
end
if head[3] then
  call('HDEL', KEYS[1], 'holder', 'until_us', 'waiters')
  call('EXPIRE', KEYS[1], ARGV[3])
  call('EXPIRE', KEYS[2], ARGV[3])
else
  call('DEL', KEYS[1])
end
wake(head[2], ARGV[2])
return { ARGV[1], 1 }
