-- Write an overlay unless a newer one exists. It never expires: a silent end would bring a bad release back.
--
-- KEYS[1]: hash of one environment's overlay: `epoch`, `record`. ARGV: epoch, record.

local epoch = redis.call("HGET", KEYS[1], "epoch")
if not epoch or tonumber(epoch) <= tonumber(ARGV[1]) then
  redis.call("HSET", KEYS[1], "epoch", ARGV[1], "record", ARGV[2])
end
return false
