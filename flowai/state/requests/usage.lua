-- The rules of rates.py in one step: read a tenant's usage, drain it, change it, write it.
--
-- KEYS[1]: hash of one tenant: requests, tokens, at_s, day, spent_nano, other_day, other_nano.
-- ARGV: verb, clock or empty, requests a minute, tokens a minute, nano-dollars a day (each 0 for no limit), then per verb:
--   admit      estimated tokens
--   add_usage  tokens beyond the estimate, nano-dollars
-- Returns the usage before the change, drained: requests, tokens, now, day, spent_nano.

local usage, verb, now = KEYS[1], ARGV[1], clock(ARGV[2])
local request_limit, token_limit, nano_limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local stored =
  redis.call("HMGET", usage, "requests", "tokens", "at_s", "day", "spent_nano", "other_day", "other_nano")
local day = math.floor(now / DAY_S)
local minutes = math.max(0, now - tonumber(stored[3] or 0)) / 60
local requests = math.max(0, tonumber(stored[1] or 0) - minutes * request_limit)
local tokens = math.max(0, tonumber(stored[2] or 0) - minutes * token_limit)
local stored_day, spent = tonumber(stored[4] or 0), tonumber(stored[5] or 0)
local other_day, other_spent = tonumber(stored[6] or 0), tonumber(stored[7] or 0)
if day ~= stored_day then
  spent, other_day, other_spent = day == other_day and other_spent or 0, stored_day, spent
end
local before = { exact(requests), exact(tokens), exact(now), string.format("%d", day), string.format("%.0f", spent) }

if verb == "admit" then
  local asked = math.min(tonumber(ARGV[6]), token_limit)
  local is_refused = (nano_limit > 0 and spent >= nano_limit)
    or (request_limit > 0 and requests + 1 > request_limit)
    or (token_limit > 0 and tokens + asked > token_limit)
  if not is_refused then
    requests = requests + (request_limit > 0 and 1 or 0)
    tokens = tokens + asked
  end
else
  tokens = math.max(0, tokens + tonumber(ARGV[6]))
  spent = spent + tonumber(ARGV[7])
end
redis.call("HSET", usage, "requests", exact(requests), "tokens", exact(tokens), "at_s", exact(now),
  "day", string.format("%d", day), "spent_nano", string.format("%.0f", spent),
  "other_day", string.format("%d", other_day), "other_nano", string.format("%.0f", other_spent))
keep_for(usage, 2 * DAY_S)
return before
