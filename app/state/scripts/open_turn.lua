-- Takes the lease of a session and tells how it stands, or queues for it. Begins with session.lua.
--
-- KEYS[1]  head of the session (hash)                 TTL: ARGV[3], and at least ARGV[5]; also of a lease that has no
--          session yet: without it the session is not begun, so it must not be evicted before sessions are
-- KEYS[2]  turns of the session (list)                TTL: the same
-- ARGV[1]  who asks for it; asking again with the same succeeds
-- ARGV[2]  channel on which the worker of who asks is woken
-- ARGV[3]  time to live of a session, seconds
-- ARGV[4]  length of a lease, us
-- ARGV[5]  seconds for which both live on at least: a turn may take longer than a session lives
--
-- Returns  {ARGV[1], what, ...}:
--   held   then us for which somebody else has it at most
--   open   then the fields seq, messages, bytes, dropped, turns, created_us, used_us, instructions; nil where absent
--
-- Atomic because two turns must not both get the session, and because who queues must not miss that it became free.

local holder, channel = ARGV[1], ARGV[2]
local lease_us = tonumber(ARGV[4])
local now = now_us()
local head = call('HMGET', KEYS[1], 'holder', 'until_us', 'waiters', 'seq', 'messages', 'bytes', 'dropped', 'turns',
  'created_us', 'used_us', 'instructions')

local left = left_to_others(head[1], head[2], holder, now, lease_us)
if left > 0 then
  local waiters = head[3] or ''
  if not has_word(waiters, channel) then
    waiters = waiters == '' and channel or waiters .. ' ' .. channel
  end
  call('HSET', KEYS[1], 'until_us', text(now + left), 'waiters', waiters)
  return { holder, 'held', left }
end
call('HSET', KEYS[1], 'holder', holder, 'until_us', text(now + lease_us))
local ttl_s = max(tonumber(ARGV[3]), tonumber(ARGV[5]))
call('EXPIRE', KEYS[1], ttl_s)
call('EXPIRE', KEYS[2], ttl_s)
return { holder, 'open', unpack(head, 4) }
