-- Writes the whole record of an API key, if nobody else has changed it since it was read.
--
-- KEYS[1]  the key (hash)                           TTL: none, API keys live for ever
-- ARGV[1]  the version that the record must have now (integer); 0: there must be none
-- ARGV[2..]  field, value, field, value, ... of the record as it shall be, its new version among them
--
-- Returns  1 written, 0 the record has another version (integer).
--
-- Atomic because two writers that read the same version must not both write: the second would silently undo a
-- revocation or a lower limit of the first.

local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1
