-- Finds the answer to a request, or who is making it, or lets the request make it. Begins with flight.lua.
--
-- KEYS[1]  the stored answer (string), only read
-- KEYS[2]  the flight (hash)                        TTL: ARGV[6], when the request takes it
-- ARGV[1]  request id
-- ARGV[2]  channel on which it wants to be woken when another's flight ends
-- ARGV[3]  fingerprint of the request, hexadecimal; empty: any answer of this slot is its own
-- ARGV[4]  largest age of an answer that is good enough, us; -: any; 0: none is
-- ARGV[5]  how long it leads until it must renew, us
-- ARGV[6]  time to live of the flight, seconds
-- ARGV[7]  bytes of the largest value that is returned
--
-- Returns  {request id, what, ...}
--          hit, age in us, the packed answer
--          large, age in us                         there is one, and it is larger than ARGV[7]
--          reused                                   the answer, or the flight, is of another request
--          follow, id of the leader
--          lead                                     also when it leads already
--
-- Atomic because of many equal requests exactly one may lead, and who follows must stand among those who are woken.

local now, lease_us = now_us(), tonumber(ARGV[5])

local stored_us, stored_for, begins = read_header(KEYS[1])
if stored_us then
  local age = max(0, now - stored_us)  -- the clock may have gone back
  local largest = ARGV[4] == '-' and age or tonumber(ARGV[4])
  if age <= largest and ARGV[4] ~= '0' then
    if ARGV[3] ~= '' and stored_for ~= ARGV[3] then
      return { ARGV[1], 'reused' }
    end
    if call('STRLEN', KEYS[1]) > tonumber(ARGV[7]) then
      return { ARGV[1], 'large', age }
    end
    return { ARGV[1], 'hit', age, call('GETRANGE', KEYS[1], begins, -1) }
  end
end

local leader, flies_for, until_us = read_flight(KEYS[2], now)
if leader and leader ~= ARGV[1] then
  if ARGV[3] ~= '' and flies_for ~= ARGV[3] then
    return { ARGV[1], 'reused' }
  end
  if until_us > now + lease_us then  -- the clock has gone back: the leader would seem to live for too long
    call('HSET', KEYS[2], 'until_us', format('%.0f', now + lease_us))
  end
  call('HSET', KEYS[2], 'wake ' .. ARGV[2], '1')
  return { ARGV[1], 'follow', leader }
end
lead(KEYS[2], ARGV[1], ARGV[3], now + lease_us, tonumber(ARGV[6]))
call('HDEL', KEYS[2], 'wake ' .. ARGV[2])  -- it followed a leader that died, and does not wait for itself
return { ARGV[1], 'lead' }
