-- The rules of circuit.py in one step: read a provider's window, change it, write it.
--
-- KEYS[1]: hash of all providers' windows, each msgpack of the array {failures_at_s, window_s, open_until_s, probe,
--   lease_until_s, back_offs as {model, until_s} each, failed_probe_count}.
-- ARGV: verb, provider, clock or empty, then per verb:
--   admit           model, lease, lease_s
--   record_failure  probe or empty, failure_count, window_s, open_s, max_open_s
--   record_success  probe
--   release_probe   probe
--   back_off        model, for_s
--   reset           nothing
-- Returns the time and the window: for `admit` and `reset` as it was before, otherwise after the change.

local FAILURES, WINDOW, OPEN_UNTIL, PROBE, LEASE_UNTIL, BACK_OFFS, FAILED_PROBES = 1, 2, 3, 4, 5, 6, 7
local MAX_DOUBLINGS = 30
local records, verb, provider = KEYS[1], ARGV[1], ARGV[2]
local now = clock(ARGV[3])

local function fresh()
  return { {}, 0, 0, "", 0, {}, 0 }
end

local function back_off_until(record, model)
  for _, item in ipairs(record[BACK_OFFS]) do
    if item[1] == model then
      return item[2]
    end
  end
  return 0
end

local function last_back_off(record)
  local last = 0
  for _, item in ipairs(record[BACK_OFFS]) do
    last = math.max(last, item[2])
  end
  return last
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
  local is_blocked = math.max(record[OPEN_UNTIL], record[LEASE_UNTIL], back_off_until(record, ARGV[4])) > now
  if is_blocked or record[OPEN_UNTIL] == 0 then
    return nil
  end
  record[PROBE], record[LEASE_UNTIL] = ARGV[5], now + tonumber(ARGV[6])
  return record
end

function verbs.record_failure(record)
  local probe, failure_count, window_s, open_s = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  if probe ~= "" then
    if not holds(record, probe) then
      return nil
    end
    end_probe(record)
    local doublings = math.min(record[FAILED_PROBES], MAX_DOUBLINGS)
    record[FAILED_PROBES] = record[FAILED_PROBES] + 1
    record[OPEN_UNTIL] = now + math.min(open_s * 2 ^ doublings, math.max(open_s, tonumber(ARGV[8])))
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
  closed[BACK_OFFS] = record[BACK_OFFS]
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
  local model, until_s = ARGV[4], now + tonumber(ARGV[5])
  if until_s <= back_off_until(record, model) then
    return nil
  end
  local kept = {}
  for _, item in ipairs(record[BACK_OFFS]) do
    if item[1] ~= model and item[2] > now then
      kept[#kept + 1] = item
    end
  end
  kept[#kept + 1] = { model, until_s }
  record[BACK_OFFS] = kept
  return record
end

function verbs.reset()
  return fresh()
end

local before = redis.call("HGET", records, provider) or cmsgpack.pack(fresh())
local after = verbs[verb](cmsgpack.unpack(before))
if not after then
  return { exact(now), before }
end

local back_off_end = last_back_off(after)
local is_quiet = after[OPEN_UNTIL] == 0 and #after[FAILURES] == 0 and back_off_end <= now
local packed = cmsgpack.pack(after)
if is_quiet then
  redis.call("HDEL", records, provider)
else
  redis.call("HSET", records, provider, packed)
  local last = math.max(after[OPEN_UNTIL], after[LEASE_UNTIL], back_off_end, now + after[WINDOW])
  keep_for(records, last - now + DAY_S)
end
return { exact(now), (verb == "admit" or verb == "reset") and before or packed }
