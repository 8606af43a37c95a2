-- An account's money by UTC day, in one step: whole nano-dollars, days since the epoch.
--
-- KEYS[1]: hash of one account: day number -> nano-dollars spent and reserved.
-- KEYS[2]: sorted set of its reservations, `day:amount:id` by the end of the lease.
-- ARGV: verb, clock or empty, then per verb:
--   reserve  amount, limit, id, lease_s   returns the day, or nothing above the limit
--   settle   day, amount, id, actual      returns nothing
--   balance                               returns today's sum, what is reserved of it, and the time

local KEPT_DAYS = 35
local account, reservations, verb = KEYS[1], KEYS[2], ARGV[1]
local now = clock(ARGV[2])
local today = string.format("%d", math.floor(now / DAY_S))

local function total(day)
  return tonumber(redis.call("HGET", account, day) or 0)
end

local function add(day, nano)
  redis.call("HSET", account, day, string.format("%.0f", math.max(0, total(day) + nano)))
  keep_for(account, 3 * DAY_S)
end

-- Days are kept for long, so that a clock set ahead for a while erases no spending.
local function delete_old_days()
  for _, field in ipairs(redis.call("HKEYS", account)) do
    if tonumber(field) and tonumber(field) < tonumber(today) - KEPT_DAYS then
      redis.call("HDEL", account, field)
    end
  end
end

local function return_expired()
  for _, member in ipairs(redis.call("ZRANGEBYSCORE", reservations, "-inf", exact(now))) do
    local day, amount = member:match("^(%d+):(%d+):")
    redis.call("ZREM", reservations, member)
    if redis.call("HEXISTS", account, day) == 1 then
      add(day, -tonumber(amount))
    end
  end
end

local verbs = {}

function verbs.reserve()
  return_expired()
  local before = total(today)
  if before + tonumber(ARGV[3]) > tonumber(ARGV[4]) then
    return false
  end
  if before == 0 then
    delete_old_days()
  end
  add(today, tonumber(ARGV[3]))
  local lease_s = tonumber(ARGV[6])
  redis.call("ZADD", reservations, exact(now + lease_s), today .. ":" .. ARGV[3] .. ":" .. ARGV[5])
  keep_for(reservations, lease_s + DAY_S)
  return today
end

function verbs.settle()
  local day, amount = ARGV[3], ARGV[4]
  local is_held = redis.call("ZREM", reservations, day .. ":" .. amount .. ":" .. ARGV[5]) == 1
  if tonumber(day) >= tonumber(today) - 1 then
    add(day, tonumber(ARGV[6]) - (is_held and tonumber(amount) or 0))
  end
  return false
end

function verbs.balance()
  return_expired()
  local reserved = 0
  for _, member in ipairs(redis.call("ZRANGE", reservations, 0, -1)) do
    local day, amount = member:match("^(%d+):(%d+):")
    reserved = reserved + (day == today and tonumber(amount) or 0)
  end
  return { string.format("%.0f", total(today)), string.format("%.0f", reserved), exact(now) }
end

return verbs[verb]()
