-- Deletes a session: its head and its turns. Begins with session.lua.
--
-- KEYS[1]  head of the session (hash)
-- KEYS[2]  turns of the session (list)
-- ARGV[1]  what the session is called in a wake
-- ARGV[2]  only if it was last used no later than this, us, and nobody works on it; empty: in any case
-- ARGV[3]  length of a lease, us
--
-- No time to live is set: both are gone, or stay as they are.
--
-- Returns  1 deleted; 0 there was none, or it is in use (integer)
--
-- A lease that has no session yet is no session, but goes, too, where one is deleted in any case: the turn that would
-- begin the session is then not committed.
--
-- Atomic because a session that is used again at the same moment, and is then not to be deleted, must not be.

local head = redis.pcall('HMGET', KEYS[1], 'holder', 'until_us', 'waiters', 'seq', 'used_us')
if head.err then  -- what stands there is no head, and heals by being deleted
  return call('DEL', KEYS[1], KEYS[2]) > 0 and 1 or 0
end
local idle_since = tonumber(ARGV[2])
if not head[4] then
  if not idle_since then
    call('DEL', KEYS[1], KEYS[2])
    wake(head[3], ARGV[1])
  end
  return 0
end
if idle_since and ((whole(head[5]) or 0) > idle_since
    or left_to_others(head[1], head[2], '', now_us(), tonumber(ARGV[3])) > 0) then
  return 0
end
call('DEL', KEYS[1], KEYS[2])
wake(head[3], ARGV[1])
return 1
