-- Takes sessions that are gone out of the index of their tenant; what stands there and is no index goes as a whole.
--
-- KEYS[1]  index of the tenant's sessions (sorted set: member -> Unix us of expiry)      TTL: stays
-- ARGV[1] [2] ...  members of it
--
-- Returns  how many were in it (integer)
--
-- Atomic because an index that was made anew at the same moment must stay.

local removed = redis.pcall('ZREM', KEYS[1], unpack(ARGV))
if type(removed) ~= 'number' then
  redis.call('DEL', KEYS[1])
  return 0
end
return removed
