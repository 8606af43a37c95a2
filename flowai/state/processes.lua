-- The processes of an environment that have not deregistered, in one step; silent ones are kept for a while.
--
-- KEYS[1]: hash of processes: name -> lifetime in seconds, a blank, heartbeat; the empty name -> time since which
--   processes are known: a server that lost its data knows none of before. KEYS[2]: sorted set of names by last heartbeat.
-- ARGV: verb, clock or empty, then per verb:
--   heartbeat   name, heartbeat, lifetime_s, seconds to keep a silent process
--   deregister  name
--   processes   seconds to keep a silent process
--                                      returns {heartbeat, seconds of silence, 1 if it is live} each, by name
--   known_for   seconds to keep a silent process
--                                      returns for how many seconds processes are known

local heartbeats, seen, verb = KEYS[1], KEYS[2], ARGV[1]
local now = clock(ARGV[2])

local function remove(names)
  for _, name in ipairs(names) do
    redis.call("HDEL", heartbeats, name)
    redis.call("ZREM", seen, name)
  end
end

local function known_since(kept_s)
  redis.call("HSETNX", heartbeats, "", exact(now))
  keep_for(heartbeats, kept_s + DAY_S)
  return tonumber(redis.call("HGET", heartbeats, ""))
end

local verbs = {}

function verbs.heartbeat()
  local name, kept_s = ARGV[3], tonumber(ARGV[6])
  known_since(kept_s)
  remove(redis.call("ZRANGEBYSCORE", seen, "-inf", exact(now - kept_s)))
  redis.call("HSET", heartbeats, name, ARGV[5] .. " " .. ARGV[4])
  redis.call("ZADD", seen, exact(now), name)
  keep_for(seen, kept_s + DAY_S)
  return false
end

function verbs.deregister()
  remove({ ARGV[3] })
  return false
end

function verbs.processes()
  local names = redis.call("ZRANGEBYSCORE", seen, "(" .. exact(now - tonumber(ARGV[3])), "+inf")
  table.sort(names)
  local processes = {}
  for _, name in ipairs(names) do
    local lifetime_s, record = string.match(redis.call("HGET", heartbeats, name) or "", "^(%S+) (.*)$")
    if record then
      local silent_s = math.max(0, now - tonumber(redis.call("ZSCORE", seen, name)))
      processes[#processes + 1] = { record, exact(silent_s), silent_s < tonumber(lifetime_s) and 1 or 0 }
    end
  end
  return processes
end

function verbs.known_for()
  return exact(math.max(0, now - known_since(tonumber(ARGV[3]))))
end

return verbs[verb]()
