-- Write an overlay unless a newer one exists. It never expires: a silent end would bring a bad release back.
--
-- KEYS[1]: hash of one environment's overlay: `epoch`, `record`, `clears`, how often it was cleared on purpose, and
--   `drill`, the id of the newest drill.
-- ARGV: verb, then per verb:
--   write  epoch, record, count of clears that a store without its data lost
--   clear  nothing
--   drill  id

local overlay, verbs = KEYS[1], {}

function verbs.write()
  local epoch = redis.call("HGET", overlay, "epoch")
  if not epoch or tonumber(epoch) <= tonumber(ARGV[2]) then
    redis.call("HSET", overlay, "epoch", ARGV[2], "record", ARGV[3])
  end
  if tonumber(redis.call("HGET", overlay, "clears") or 0) < tonumber(ARGV[4]) then
    redis.call("HSET", overlay, "clears", ARGV[4])
  end
  return false
end

function verbs.clear()
  redis.call("HDEL", overlay, "epoch", "record")
  redis.call("HINCRBY", overlay, "clears", 1)
  return false
end

function verbs.drill()
  redis.call("HSET", overlay, "drill", ARGV[2])
  return false
end

return verbs[ARGV[1]]()
