-- An account's money by UTC day, in one step: whole nano-dollars, days since the epoch.
--
-- KEYS[1]: hash of one account: day number -> nano-dollars spent and reserved, and `life`, an id that changes when
--   the account was lost, so that a later life does not return what an earlier one reserved.
-- ARGV: verb, clock or empty, then per verb:
--   reserve  amount, limit, id of a new life   returns {day, life}, or {} above the limit
--   settle   day, life, amount, actual                           returns nothing
--   spent                                           returns today's sum

local KEPT_DAYS = 35
local account, verb = KEYS[1], ARGV[1]
local today = math.floor(clock(ARGV[2]) / DAY_S)

local function spent(day)
  return tonumber(redis.call("HGET", account, day) or 0)
end

local function write(day, nano)
  redis.call("HSET", account, day, string.format("%.0f", nano))
  keep_for(account, 3 * DAY_S)
end

-- Days are kept for long, so that a clock set ahead for a while erases no spending.
local function delete_old_days()
  for _, field in ipairs(redis.call("HKEYS", account)) do
    local day = tonumber(field)
    if day and day < today - KEPT_DAYS then
      redis.call("HDEL", account, field)
    end
  end
end

local verbs = {}

function verbs.reserve()
  local day = string.format("%d", today)
  local before = spent(day)
  local after = before + tonumber(ARGV[3])
  if after > tonumber(ARGV[4]) then
    return {}
  end
  if before == 0 then
    delete_old_days()
  end
  redis.call("HSETNX", account, "life", ARGV[5])
  write(day, after)
  return { day, redis.call("HGET", account, "life") }
end

function verbs.settle()
  local day, amount, actual = ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6])
  if tonumber(day) < today - 1 then
    return false
  end
  if redis.call("HGET", account, "life") ~= ARGV[4] then
    amount = 0
  end
  write(day, math.max(0, spent(day) + actual - amount))
  return false
end

function verbs.spent()
  return string.format("%.0f", spent(string.format("%d", today)))
end

return verbs[verb]()
