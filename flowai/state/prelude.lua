-- Prepended to each script: the time, and expiry that only grows.

local DAY_S = 86400

-- The time in seconds: the caller's if a test passes one, otherwise this server's.
local function clock(given)
  if given ~= "" then
    return tonumber(given)
  end
  local time = redis.call("TIME")
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Expire a key no earlier than `for_s` from now.
local function keep_for(key, for_s)
  local ttl_s = math.ceil(for_s)
  if redis.call("TTL", key) < ttl_s then
    redis.call("EXPIRE", key, string.format("%d", ttl_s))
  end
end

-- Numbers are returned as text: Redis truncates a script's numbers to integers.
local function exact(number)
  return string.format("%.17g", number)
end
