-- The rules of circuit.py in one step: read a provider's window, change it, write it.
--
-- KEYS[1]: hash of all providers' windows, each msgpack of the array {failures_at_s, window_s, open_until_s, probe,
--   lease_until_s, back_offs as {model, until_s} each, failed_probe_count, buckets as {number, call_count,
--   failure_count, slow_count, retry_count} each}.
-- ARGV: verb, provider, clock or empty, then per verb:
--   admit           model, lease, lease_s
--   record_failure  rule, probe or empty, answered calls, slow ones
--   record_calls    rule, answered calls, slow ones
--   admit_retry     rule, answered calls, slow ones
--   record_success  probe
--   release_probe   probe
--   back_off        model, for_s
--   reset           nothing
-- A rule is a msgpack map of the fields of `BreakerRule`.
-- Returns the time and the window: for `admit`, `admit_retry` and `reset` as it was before, otherwise after the change.

local FAILURES, WINDOW, OPEN_UNTIL, PROBE, LEASE_UNTIL, BACK_OFFS, FAILED_PROBES, BUCKETS = 1, 2, 3, 4, 5, 6, 7, 8
local NUMBER, CALLS, FAILED, SLOW, RETRIES = 1, 2, 3, 4, 5
local MAX_DOUBLINGS = 30
local BUCKET_COUNT = 12
local records, verb, provider = KEYS[1], ARGV[1], ARGV[2]
local now = clock(ARGV[3])

local BEFORE = { admit = true, admit_retry = true, reset = true }

-- An optional share is nil when missing.
local function unpack_rule(packed)
  local rule = cmsgpack.unpack(packed)
  rule.counts_calls = rule.failure_rate or rule.slow_rate or rule.retry_rate
  return rule
end

local function fresh()
  return { {}, 0, 0, "", 0, {}, 0, {} }
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

local function bucket_number(window_s)
  return math.floor(now / (window_s / BUCKET_COUNT))
end

-- `answered`: calls and slow ones.
local function add_calls(record, rule, answered, failure_count, retry_count)
  if not rule.counts_calls then
    record[BUCKETS] = {}
    return
  end
  local number = bucket_number(rule.window_s)
  local current, kept = { number, 0, 0, 0, 0 }, {}
  for _, bucket in ipairs(record[WINDOW] == rule.window_s and record[BUCKETS] or {}) do
    if bucket[NUMBER] == number then
      current = bucket
    elseif bucket[NUMBER] > number - BUCKET_COUNT then
      kept[#kept + 1] = bucket
    end
  end
  current[CALLS] = current[CALLS] + answered[1] + failure_count
  current[FAILED] = current[FAILED] + failure_count
  current[SLOW] = current[SLOW] + answered[2]
  current[RETRIES] = current[RETRIES] + retry_count
  kept[#kept + 1] = current
  record[BUCKETS] = kept
end

local function sum(record, column)
  local total = 0
  for _, bucket in ipairs(record[BUCKETS]) do
    total = total + bucket[column]
  end
  return total
end

local function open_by_calls(record, rule)
  local calls = sum(record, CALLS)
  local has_rate = calls >= rule.min_calls
  local is_slow = rule.slow_rate and has_rate and sum(record, SLOW) >= rule.slow_rate * calls
  local recent = 0
  for _, at_s in ipairs(record[FAILURES]) do
    recent = recent + (at_s > now - rule.window_s and 1 or 0)
  end
  local fails = recent > rule.failure_count
    and (not rule.failure_rate or not has_rate or sum(record, FAILED) >= rule.failure_rate * calls)
  if fails or is_slow then
    record[OPEN_UNTIL] = now + rule.open_s
  end
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
  local rule, probe, answered = unpack_rule(ARGV[4]), ARGV[5], { tonumber(ARGV[6]), tonumber(ARGV[7]) }
  local open_s = rule.open_s
  if probe ~= "" then
    if not holds(record, probe) then
      return nil
    end
    end_probe(record)
    local doublings = math.min(record[FAILED_PROBES], MAX_DOUBLINGS)
    record[FAILED_PROBES] = record[FAILED_PROBES] + 1
    record[OPEN_UNTIL] = now + math.min(open_s * 2 ^ doublings, math.max(open_s, rule.max_open_s))
    return record
  end
  if record[OPEN_UNTIL] ~= 0 then
    return nil
  end
  local recent = {}
  for _, at_s in ipairs(record[FAILURES]) do
    if at_s > now - rule.window_s then
      recent[#recent + 1] = at_s
    end
  end
  recent[#recent + 1] = now
  add_calls(record, rule, answered, 1, 0)
  while #record[BUCKETS] > 0 and #recent > rule.failure_count + 1 do
    table.remove(recent, 1) -- a busy provider may fail often without opening
  end
  record[FAILURES], record[WINDOW] = recent, rule.window_s
  open_by_calls(record, rule)
  return record
end

function verbs.record_calls(record)
  local rule, answered = unpack_rule(ARGV[4]), { tonumber(ARGV[5]), tonumber(ARGV[6]) }
  if record[OPEN_UNTIL] ~= 0 or not rule.counts_calls or answered[1] == 0 then
    return nil
  end
  add_calls(record, rule, answered, 0, 0)
  record[WINDOW] = rule.window_s
  open_by_calls(record, rule)
  return record
end

function verbs.admit_retry(record)
  local rule, answered = unpack_rule(ARGV[4]), { tonumber(ARGV[5]), tonumber(ARGV[6]) }
  if not rule.retry_rate or record[OPEN_UNTIL] ~= 0 then
    return nil
  end
  add_calls(record, rule, answered, 0, 0)
  record[WINDOW] = rule.window_s
  if sum(record, RETRIES) + 1 <= math.max(rule.min_retries, rule.retry_rate * sum(record, CALLS)) then
    add_calls(record, rule, { 0, 0 }, 0, 1)
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
local record = cmsgpack.unpack(before)
record[BUCKETS] = record[BUCKETS] or {} -- written before calls were counted
local after = verbs[verb](record)
if not after then
  return { exact(now), before }
end

local back_off_end = last_back_off(after)
local is_quiet = after[OPEN_UNTIL] == 0 and #after[FAILURES] == 0 and #after[BUCKETS] == 0 and back_off_end <= now
local packed = cmsgpack.pack(after)
if is_quiet then
  redis.call("HDEL", records, provider)
else
  redis.call("HSET", records, provider, packed)
  local last = math.max(after[OPEN_UNTIL], after[LEASE_UNTIL], back_off_end, now + after[WINDOW])
  keep_for(records, last - now + DAY_S)
end
return { exact(now), BEFORE[verb] and before or packed }
