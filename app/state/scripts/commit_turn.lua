-- Adds turns to a session as it was read, and frees it; all of it or nothing. Begins with session.lua.
--
-- KEYS[1]  head of the session (hash)                 TTL: ARGV[14]
-- KEYS[2]  turns of the session (list)                TTL: ARGV[14]
-- ARGV[1]  who commits
-- ARGV[2]  what the session is called in a wake
-- ARGV[3] [4]      the head that was read: seq (0: there was no session), created_us
-- ARGV[5] [6] [7]  how it stands now: messages, bytes, dropped
-- ARGV[8]  how many of the oldest turns are dropped
-- ARGV[9]  instructions, packed; empty: they stay as they are
-- ARGV[10] [11] [12]  name of the tenant, scope, id of the session
-- ARGV[13] how many of the last commits are remembered by who made them
-- ARGV[14] time to live of a session, seconds
-- ARGV[15] length of a lease, us
-- ARGV[16] how many turns follow
-- ARGV[17..]  the turns, packed
--
-- Returns  {ARGV[1], what, ...}:
--   committed  then seq of this commit, created_us, used_us; also where it was made before
--   changed    the session is not as it was read, or somebody else has it, or it would begin by this commit and its
--              lease was taken away; nothing was done
--   damaged    what is stored cannot be read; nothing was done
--
-- Atomic because the turn must follow the very history that it was made from, and nobody must ever see half of it.

local holder = ARGV[1]
local base = tonumber(ARGV[3])
local now = now_us()
local head = call('HMGET', KEYS[1], 'holder', 'until_us', 'waiters', 'seq', 'created_us', 'used_us', 'turns', 'last')
local seq = head[4] and whole(head[4]) or 0
if head[4] and not whole(head[4]) then
  return { holder, 'damaged' }
end
local created, last_used = text(whole(head[5]) or now), whole(head[6]) or 0

if seq > base and has_word(head[8], holder) then
  return { holder, 'committed', base + 1, created, text(last_used) }
end
if seq ~= base or (seq > 0 and head[5] ~= ARGV[4])
    or (seq == 0 and head[1] ~= holder)  -- deleted while it was being begun
    or left_to_others(head[1], head[2], holder, now, tonumber(ARGV[15])) > 0 then
  return { holder, 'changed' }
end
if seq == 0 then
  call('DEL', KEYS[2])  -- of a session whose head was evicted
elseif call('LLEN', KEYS[2]) ~= whole(head[7]) then
  return { holder, 'damaged' }
end
-- The list first: it is what fails if another type stands there, and nothing is undone.
for at = 17, 16 + tonumber(ARGV[16]) do
  call('RPUSH', KEYS[2], ARGV[at])
end
if ARGV[8] ~= '0' then
  call('LTRIM', KEYS[2], ARGV[8], -1)
end
local used = text(max(now, last_used))
local last, commits = holder, 1
for word in string.gmatch(head[8] or '', '%S+') do
  if commits < tonumber(ARGV[13]) then
    last, commits = last .. ' ' .. word, commits + 1
  end
end
call('HSET', KEYS[1], 'seq', text(seq + 1), 'messages', ARGV[5], 'bytes', ARGV[6], 'dropped', ARGV[7],
  'turns', call('LLEN', KEYS[2]), 'created_us', created, 'used_us', used, 'tenant', ARGV[10], 'scope', ARGV[11],
  'id', ARGV[12], 'last', last)
if ARGV[9] ~= '' then
  call('HSET', KEYS[1], 'instructions', ARGV[9])
end
call('HDEL', KEYS[1], 'holder', 'until_us', 'waiters')
call('EXPIRE', KEYS[1], ARGV[14])
call('EXPIRE', KEYS[2], ARGV[14])
wake(head[3], ARGV[2])
return { holder, 'committed', seq + 1, created, used }
