-- Ends a flight: stores the answer, if there is one, and wakes everybody who waits for it. Begins with flight.lua.
--
-- KEYS[1]  the stored answer (string)               TTL: ARGV[4]
-- KEYS[2]  the flight (hash), deleted if it is still the leader's
-- ARGV[1]  request id of the leader
-- ARGV[2]  the packed answer; empty: there is none
-- ARGV[3]  fingerprint of the request, hexadecimal, or empty
-- ARGV[4]  time to live of the answer, seconds
-- ARGV[5]  1: an answer that is stored already stays; 0: the newer one counts
-- ARGV[6]  the message that wakes
--
-- Returns  {request id, what}: landed, or gone (the flight was not the leader's any more; an answer is stored all the
--          same, as it is whole)
--
-- Atomic because whoever joins between the end of the flight and the answer would make it once more.

local fields = pcall_redis('HGETALL', KEYS[2])
local leader, channels = nil, {}
for at = 1, #fields, 2 do
  if fields[at] == 'leader' then
    leader = fields[at + 1]
  end
  channels[#channels + 1] = match(fields[at], '^wake (.+)$')
end
local is_ours = leader == ARGV[1]
-- First what must happen even when the store is full.
if is_ours then
  call('DEL', KEYS[2])
end
if is_ours or ARGV[2] ~= '' then
  for _, channel in ipairs(channels) do
    call('PUBLISH', channel, ARGV[6])
  end
end
if ARGV[2] ~= '' and not (ARGV[5] == '1' and read_header(KEYS[1])) then
  local header = format('%.0f %s\n', now_us(), ARGV[3])
  call('SET', KEYS[1], header .. ARGV[2], 'EX', tonumber(ARGV[4]))
end
return { ARGV[1], is_ours and 'landed' or 'gone' }
