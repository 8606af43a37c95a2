-- The rules of circuit.py in one step: read a provider's window, change it, write it.
--
-- KEYS[1]: hash of all providers' windows, each msgpack of the array {failures_at_s, window_s, open_until_s, probe,
--   lease_until_s, back_off_until_s}.
-- ARGV: verb, provider, clock or empty, then per verb:
--   admit           lease, lease_s
--   record_failure  probe or empty, failure_count, window_s, open_s
--   record_success  probe
--   release_probe   probe
--   back_off        for_s
-- Returns the time and the window: for `admit` as it was before, otherwise after the change.

local FAILURES, WINDOW, OPEN_UNTIL, PROBE, LEASE_UNTIL, BACK_OFF_UNTIL = 1, 2, 3, 4, 5, 6
local records, verb, provider = KEYS[1], ARGV[1], ARGV[2]
local now = clock(ARGV[3])

local function fresh()
  return { {}, 0, 0, "", 0, 0 }
end

local function holds(record, probe)
  return probe ~= "" and record[PROBE] == probe
end

local function end_probe(record)
  record[PROBE], record[LEASE_UNTIL] = "", 0
end

-- Each verb returns the next window, or nil if nothing changes.
local verbs = {}

function verbs.admit(record)
  local is_blocked = math.max(record[OPEN_UNTIL], record[LEASE_UNTIL], record[BACK_OFF_UNTIL]) > now
  if is_blocked or record[OPEN_UNTIL] == 0 then
    return nil
  end
  record[PROBE], record[LEASE_UNTIL] = ARGV[4], now + tonumber(ARGV[5])
  return record
end

function verbs.record_failure(record)
  local probe, failure_count, window_s, open_s = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  if probe ~= "" then
    if not holds(record, probe) then
      return nil
    end
    end_probe(record)
    record[OPEN_UNTIL] = now + open_s
    return record
  end
  if record[OPEN_UNTIL] ~= 0 then
    return nil
  end
  local recent = {}
  for _, at_s in ipairs(record[FAILURES]) do
    if at_s > now - window_s then
      recent[#recent + 1] = at_s
    end
  end
  recent[#recent + 1] = now
  record[FAILURES], record[WINDOW] = recent, window_s
  if #recent > failure_count then
    record[OPEN_UNTIL] = now + open_s
  end
  return record
end

function verbs.record_success(record)
  if not holds(record, ARGV[4]) then
    return nil
  end
  local closed = fresh()
  closed[BACK_OFF_UNTIL] = record[BACK_OFF_UNTIL]
  return closed
end

function verbs.release_probe(record)
  if not holds(record, ARGV[4]) then
    return nil
  end
  end_probe(record)
  return record
end

function verbs.back_off(record)
  local until_s = now + tonumber(ARGV[4])
  if until_s <= record[BACK_OFF_UNTIL] then
    return nil
  end
  record[BACK_OFF_UNTIL] = until_s
  return record
end

local before = redis.call("HGET", records, provider) or cmsgpack.pack(fresh())
local after = verbs[verb](cmsgpack.unpack(before))
if not after then
  return { exact(now), before }
end

local is_quiet = after[OPEN_UNTIL] == 0 and #after[FAILURES] == 0 and after[BACK_OFF_UNTIL] <= now
local packed = cmsgpack.pack(after)
if is_quiet then
  redis.call("HDEL", records, provider)
else
  redis.call("HSET", records, provider, packed)
  local last = math.max(after[OPEN_UNTIL], after[LEASE_UNTIL], after[BACK_OFF_UNTIL], now + after[WINDOW])
  keep_for(records, last - now + DAY_S)
end
return { exact(now), verb == "admit" and before or packed }
