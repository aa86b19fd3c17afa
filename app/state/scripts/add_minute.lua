-- Adds what a worker has counted to the figures of this minute and of this hour.
--
-- KEYS[1]  beginning of the names of minutes (hashes: figure -> whole number)   TTL: ARGV[1] seconds
-- KEYS[2]  beginning of the names of hours (the same)                           TTL: ARGV[2] seconds
-- The number behind it is that of the minute or hour since 1970. Both are of one slot, so whoever may touch the
-- beginning may touch the key.
--
-- ARGV[1] [2]  times to live in seconds: minute, hour
-- ARGV[3] [4]  fields that a minute and an hour may have; once it has more, a figure that begins with ARGV[5] and is new
--          to it is added to ARGV[6]
-- ARGV[5]  beginning of the figures there may be any number of
-- ARGV[6]  the figure that stands for those that found no room
-- ARGV[7] [8]  how many counts and how many gauges follow
-- ARGV[9]...  pairs of a figure and a whole number: the counts, which are added; then the gauges, whose highest is kept
--
-- Returns  the minute, since 1970 (integer).
--
-- Atomic because the minute would else end between its clock and its counts, and a hash that is made by an addition
-- would live for ever if its worker died before the EXPIRE. The clock is the server's, so that replicas with wrong clocks
-- agree, and a minute that is over changes no more.

local FIRST = 9
local many, rest = ARGV[5], ARGV[6]
local last_count = FIRST + 2 * tonumber(ARGV[7]) - 1
local last_gauge = last_count + 2 * tonumber(ARGV[8])

-- What cannot be read is written anew; an error would undo nothing of what was added before it.
local function add(key, figure, count)
  if type(redis.pcall('HINCRBY', key, figure, count)) ~= 'number' then
    redis.call('HSET', key, figure, count)
  end
end

local function add_all(key, room)
  local is_tight = room < last_count - FIRST
  for i = FIRST, last_count, 2 do
    local figure = ARGV[i]
    if is_tight and string.sub(figure, 1, #many) == many and redis.call('HEXISTS', key, figure) == 0 then
      if room <= 0 then
        figure = rest
      end
      room = room - 1
    end
    add(key, figure, ARGV[i + 1])
  end
end

local function keep_highest(key)
  for i = last_count + 1, last_gauge, 2 do
    local kept = tonumber(redis.call('HGET', key, ARGV[i]) or nil)
    if not kept or kept < tonumber(ARGV[i + 1]) then
      redis.call('HSET', key, ARGV[i], ARGV[i + 1])
    end
  end
end

local now_s = tonumber(redis.call('TIME')[1])
local number = math.floor(now_s / 60)
local minute = KEYS[1] .. string.format('%.0f', number)
local hour = KEYS[2] .. string.format('%.0f', math.floor(now_s / 3600))
-- Both are looked at before anything is written: one that is no hash ends the script here.
local room_of_minute = tonumber(ARGV[3]) - redis.call('HLEN', minute)
local room_of_hour = tonumber(ARGV[4]) - redis.call('HLEN', hour)

add_all(minute, room_of_minute)
keep_highest(minute)
redis.call('EXPIRE', minute, ARGV[1])
add_all(hour, room_of_hour)
keep_highest(hour)
redis.call('EXPIRE', hour, ARGV[2])
return number
