-- Idempotency keys, in one step each.
--
-- KEYS[1]: hash of one key: body, owner, until_s, answer. KEYS[2]: sorted set of answered keys by end of life.
-- ARGV: verb, clock or empty, owner, then per verb:
--   claim    body, lease_s                          returns {status, answer}
--   store    body, lifetime_s, answer, maximum      returns nothing; deletes the oldest answers above the maximum
--   release                                         returns nothing

local request, answered, verb, now, owner = KEYS[1], KEYS[2], ARGV[1], clock(ARGV[2]), ARGV[3]
local stored = redis.call("HMGET", request, "body", "owner", "until_s")
local is_known = stored[1] and tonumber(stored[3]) > now
local is_foreign = is_known and stored[2] ~= owner

local function write(body, for_s)
  redis.call("DEL", request)
  redis.call("HSET", request, "body", body, "owner", owner, "until_s", exact(now + for_s))
  keep_for(request, for_s)
end

local verbs = {}

function verbs.claim()
  if not is_foreign then
    write(ARGV[4], tonumber(ARGV[5]))
    return { "claimed", "" }
  end
  if stored[1] ~= ARGV[4] then
    return { "mismatch", "" }
  end
  local answer = redis.call("HGET", request, "answer")
  return answer and { "answered", answer } or { "running", "" }
end

function verbs.store()
  if is_foreign then
    return false
  end
  local lifetime_s = tonumber(ARGV[5])
  write(ARGV[4], lifetime_s)
  redis.call("HSET", request, "answer", ARGV[6])
  redis.call("ZREMRANGEBYSCORE", answered, "-inf", exact(now))
  redis.call("ZADD", answered, exact(now + lifetime_s), request)
  keep_for(answered, lifetime_s)
  local beyond = redis.call("ZCARD", answered) - tonumber(ARGV[7])
  if beyond > 0 then
    for _, oldest in ipairs(redis.call("ZRANGE", answered, 0, beyond - 1)) do
      redis.call("DEL", oldest)
      redis.call("ZREM", answered, oldest)
    end
  end
  return false
end

function verbs.release()
  if is_known and not is_foreign and redis.call("HEXISTS", request, "answer") == 0 then
    redis.call("DEL", request)
  end
  return false
end

return verbs[verb]()
