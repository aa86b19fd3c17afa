-- What join_flight.lua, land_flight.lua and renew_flight.lua share: who is making an answer, and what is stored of one.
-- Not a script of its own: it stands before theirs, has no KEYS and ARGV, and returns nothing.
--
-- Units: times are Unix microseconds on the server's clock, written by '%.0f': Lua would print them as 1.79e+15.
--
-- Values; what cannot be read counts as absent, a key of another type too:
--   flight  hash: leader       id of the request that makes the answer
--                 until_us     when its lease ends
--                 fingerprint  of its request, hexadecimal; empty where the name of the slot says it all
--                 wake <channel>  for each channel on which somebody waits: 1
--   answer  string: <stored, us> <fingerprint> LF <the packed answer>

local call, pcall_redis = redis.call, redis.pcall
local format, match, max, min = string.format, string.match, math.max, math.min

local HEADER_BYTES = 96

local function now_us()
  local time = call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- When an answer was stored, the fingerprint of its request, and where it begins in the value, from 0; nil: none.
local function read_header(key)
  local header = pcall_redis('GETRANGE', key, 0, HEADER_BYTES - 1)
  if type(header) ~= 'string' then
    return nil
  end
  local stored_us, fingerprint, begins = match(header, '^(%d+) (%x*)\n()')
  if not stored_us then
    return nil
  end
  return tonumber(stored_us), fingerprint, begins - 1
end

-- The leader whose lease has not run out, its fingerprint and the end of its lease; nil: nobody makes the answer.
local function read_flight(key, now)
  local flight = pcall_redis('HMGET', key, 'leader', 'until_us', 'fingerprint')
  if flight.err then
    call('DEL', key)
    return nil
  end
  local leader, fingerprint = flight[1], flight[3]
  local until_us = tonumber(match(flight[2] or '', '^%d+$'))
  if not (leader and fingerprint and until_us and until_us > now) then
    return nil
  end
  return leader, fingerprint, until_us
end

-- Makes a request the leader, or prolongs its lease; who waits already goes on waiting.
local function lead(key, leader, fingerprint, until_us, ttl_s)
  call('HSET', key, 'leader', leader, 'until_us', format('%.0f', until_us), 'fingerprint', fingerprint)
  call('EXPIRE', key, ttl_s)
end
