-- Seats a session that was used with its tenant; the longest idle of its live sessions go where there are too many.
-- Begins with session.lua.
--
-- KEYS[1]  index of the tenant's sessions (sorted set: member -> Unix us of expiry)      TTL: at least ARGV[4]
-- KEYS[2]  seat of the session (string)                                                  TTL: ARGV[4]
-- ARGV[1]  request id
-- ARGV[2]  the session's member of the index
-- ARGV[3]  what is written at its seat
-- ARGV[4]  time to live of a session, seconds
-- ARGV[5]  how many live sessions a tenant has at most
-- ARGV[6]  how many go at once at most: after a bound was lowered the others go with the next ones
--
-- Returns  {request id, member, us of expiry, member, us of expiry, ...} of those that left the index, longest idle
--   first. The names of their seats cannot be made here: the caller deletes them.
--
-- Atomic because two sessions that begin at once must not both believe that there was room for them, nor each put a
-- session out where one would do.

local now = now_us()
local ttl_s = tonumber(ARGV[4])

local expiry = text(now + ttl_s * 1000000)
if type(redis.pcall('ZADD', KEYS[1], expiry, ARGV[2])) ~= 'number' then  -- no index: the next turns make it anew
  call('DEL', KEYS[1])
  call('ZADD', KEYS[1], expiry, ARGV[2])
end
if call('TTL', KEYS[1]) < ttl_s then
  call('EXPIRE', KEYS[1], ttl_s)
end
call('SET', KEYS[2], ARGV[3], 'EX', ttl_s)

local live_from = '(' .. text(now)
local excess = min(call('ZCOUNT', KEYS[1], live_from, '+inf') - tonumber(ARGV[5]), tonumber(ARGV[6]))
local reply = { ARGV[1] }
if excess > 0 then
  local longest_idle = call('ZRANGEBYSCORE', KEYS[1], live_from, '+inf', 'WITHSCORES', 'LIMIT', 0, excess + 1)
  for at = 1, #longest_idle, 2 do
    if excess > 0 and longest_idle[at] ~= ARGV[2] then
      excess = excess - 1
      call('ZREM', KEYS[1], longest_idle[at])
      reply[#reply + 1] = longest_idle[at]
      reply[#reply + 1] = longest_idle[at + 1]
    end
  end
end
return reply
