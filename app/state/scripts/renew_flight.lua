-- Prolongs the lease of a leader, and puts its flight back if that was lost. Begins with flight.lua.
--
-- KEYS[1]  the flight (hash)                        TTL: ARGV[4]
-- ARGV[1]  request id of the leader
-- ARGV[2]  fingerprint of the request, hexadecimal, or empty
-- ARGV[3]  how long it leads from now on, us
-- ARGV[4]  time to live of the flight, seconds
--
-- Returns  {request id, what}: renewed, or taken (another leads now, nothing was done)
--
-- Atomic because two requests must not both find the flight free.

local now = now_us()
local leader = read_flight(KEYS[1], now)
if leader and leader ~= ARGV[1] then
  return { ARGV[1], 'taken' }
end
lead(KEYS[1], ARGV[1], ARGV[2], now + tonumber(ARGV[3]), tonumber(ARGV[4]))
return { ARGV[1], 'renewed' }
