-- What the scripts of a session share: its lease, its numbers, whom to wake. Not a script of its own: it stands before
-- theirs, has no KEYS and ARGV, and returns nothing.
--
-- Units: times are Unix microseconds on the server's clock, written by '%.0f': Lua would print them as 1.79e+15.
--
-- Values: the head of a session (hash); numbers that cannot be read are an error, never an empty session:
--   seq         commits so far; absent while there is no session yet, only the lease of whoever begins it
--   messages    that are kept;  bytes: of them;  dropped: messages that are not kept any more;  turns: in the list
--   created_us  when it was first committed;  used_us: when it was last
--   instructions  packed; absent without any
--   tenant, scope, id  whose it is, and how the client calls it
--   last        who made the last commits, the newest first; words with spaces between them
--   holder      who works on it, until until_us;  waiters: channels to wake when it is free; words

local call, format, match = redis.call, string.format, string.match
local max, min = math.max, math.min

local function text(number)
  return format('%.0f', number)
end

local function now_us()
  local time = call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- A whole number; nil where it is none, or absent.
local function whole(value)
  return tonumber(match(value or '', '^%d+$'))
end

local function has_word(words, word)
  return string.find(' ' .. (words or '') .. ' ', ' ' .. word .. ' ', 1, true) ~= nil
end

-- For how long somebody else has the session, us; 0: nobody. A lease that ends later than any could is from before a
-- clock went back.
local function left_to_others(holder, until_us, asking, now, lease_us)
  if not holder or holder == asking then
    return 0
  end
  return max(0, min(lease_us, (whole(until_us) or 0) - now))
end

-- A wake is a hint: one that cannot be sent fails nothing.
local function wake(waiters, sid)
  for channel in string.gmatch(waiters or '', '%S+') do
    redis.pcall('PUBLISH', channel, 'wake ' .. sid)
  end
end
