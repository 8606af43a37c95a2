-- The live processes of an environment, in one step.
--
-- KEYS[1]: hash of processes: name -> heartbeat. KEYS[2]: sorted set of names by end of life.
-- ARGV: verb, clock or empty, then per verb:
--   heartbeat   name, heartbeat, lifetime_s
--   deregister  name
--   heartbeats                         returns the heartbeats, by name

local heartbeats, ends, verb = KEYS[1], KEYS[2], ARGV[1]
local now = clock(ARGV[2])

local function remove(names)
  for _, name in ipairs(names) do
    redis.call("HDEL", heartbeats, name)
    redis.call("ZREM", ends, name)
  end
end

local verbs = {}

function verbs.heartbeat()
  local name, lifetime_s = ARGV[3], tonumber(ARGV[5])
  remove(redis.call("ZRANGEBYSCORE", ends, "-inf", exact(now)))
  redis.call("HSET", heartbeats, name, ARGV[4])
  redis.call("ZADD", ends, exact(now + lifetime_s), name)
  keep_for(heartbeats, lifetime_s + DAY_S)
  keep_for(ends, lifetime_s + DAY_S)
  return false
end

function verbs.deregister()
  remove({ ARGV[3] })
  return false
end

function verbs.heartbeats()
  local names = redis.call("ZRANGEBYSCORE", ends, "(" .. exact(now), "+inf")
  table.sort(names)
  local records = {}
  for _, name in ipairs(names) do
    records[#records + 1] = redis.call("HGET", heartbeats, name)
  end
  return records
end

return verbs[verb]()
