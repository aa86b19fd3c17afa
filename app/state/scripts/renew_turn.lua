-- Prolongs the lease of a turn that runs. Begins with session.lua.
--
-- KEYS[1]  head of the session (hash)                 TTL: at least ARGV[3]
-- KEYS[2]  turns of the session (list)                TTL: at least ARGV[3]
-- ARGV[1]  who has the lease
-- ARGV[2]  length of a lease, us
-- ARGV[3]  seconds for which both live on at least: a turn may take longer than a session lives
--
-- Returns  {ARGV[1], 1 prolonged, 0 it is not theirs any more}
--
-- A lease that nobody else has taken is prolonged also after it ran out. One that was deleted, or has gone to somebody
-- else and come free again, is not put back: the session may have changed, and its commit will tell.
--
-- Atomic because a lease that somebody else takes at the same moment must stay theirs.

if call('HGET', KEYS[1], 'holder') ~= ARGV[1] then
  return { ARGV[1], 0 }
end
call('HSET', KEYS[1], 'until_us', text(now_us() + tonumber(ARGV[2])))
for _, key in ipairs({ KEYS[1], KEYS[2] }) do
  if call('TTL', key) < tonumber(ARGV[3]) then
    call('EXPIRE', key, ARGV[3])
  end
end
return { ARGV[1], 1 }
