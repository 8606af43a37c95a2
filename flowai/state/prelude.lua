-- Stands before each of our scripts: the time, and expiry that only ever grows.

local DAY_S = 86400

-- The time in seconds: the caller's where a test hands one in, else this server's.
local function clock(handed_in)
  if handed_in ~= "" then
    return tonumber(handed_in)
  end
  local time = redis.call("TIME")
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Let a key go some time after it is of no more use to anyone.
local function keep_for(key, for_s)
  local ttl_s = math.ceil(for_s)
  if redis.call("TTL", key) < ttl_s then
    redis.call("EXPIRE", key, string.format("%d", ttl_s))
  end
end

-- Numbers travel as text: Redis cuts a script's numbers to integers.
local function exact(number)
  return string.format("%.17g", number)
end
