"""What a verdict costs beside DuckDB alone: CPU, time, memory against the plain exact-quantile query; synthetic logs.

All read the same files in fresh processes, interleaved; medians. A quarter of the calls is in the canary,
as many in the control, users make four calls one after the other, every second call has feedback. Parquet is written
as compaction writes it. The query of quantiles tells neither users nor duplicates apart, reads no attempts and joins no
feedback; the one of users reads what a verdict reads. 1 M calls as JSONL, 10 M as Parquet; with `--huge` 100 M as
Parquet, once, which takes 5 GB of disk.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from flowai.events.lake.parquet import rows_per_group

HEADER = ("what", "flowai", "peer", "ratio", "how")
SIZES = (("jsonl", 1_000_000), ("parquet", 10_000_000))
HUGE = (("parquet", 100_000_000),)
PAIRS_COUNT = 3
HOURS = 168
LINE_BYTES = 900
"""Length of a call's line, about."""
BEGIN_US = 1_777_852_800_000_000

_ATTEMPTS = """
    CASE WHEN is_failed THEN '[{"model":"m","provider":"openai","status":"error","reason":null,"http_status":500,'
        || '"error_class":"ServerError","message":"server error","was_tried":true,"at_ms":0.125,"latency_ms":'
    ELSE '[{"model":"m","provider":"openai","status":"ok","reason":null,"http_status":200,"error_class":null,'
        || '"message":null,"was_tried":true,"at_ms":0.125,"latency_ms":' END || round(latency_ms, 3) || '}]'"""
_EVENTS = f"""
SELECT 'call' AS kind, 1::BIGINT AS schema_version, 'call-' || i AS call_id,
    make_timestamptz({BEGIN_US} + i * ({HOURS * 3_600_000_000} // $count)) AS "at", 'library' AS origin,
    md5((hash(i // 4) % 10000000)::VARCHAR) AS user_hash, NULL::VARCHAR AS tenant, NULL::VARCHAR AS session,
    'feature-' || (i % 5) AS feature,
    CASE WHEN hash(i // 4) % 100 < 25 THEN 'v2' ELSE 'v1' END AS "release",
    CASE WHEN hash(i // 4) % 100 < 25 THEN 'canary' WHEN hash(i // 4) % 100 < 50 THEN 'control'
        ELSE 'stable' END AS variant,
    NULL::VARCHAR AS experiment, NULL::VARCHAR AS arm, TRUE AS is_sticky, 'prompts/p_v1' AS prompt_id,
    CASE WHEN hash(i // 4) % 100 < 25 THEN repeat('b', 64) ELSE repeat('a', 64) END AS prompt_hash,
    'm' AS requested_model,
    'gpt-4o-mini-2024-07-18' AS served_model, 'openai' AS provider, ({_ATTEMPTS})::JSON AS attempts,
    FALSE AS degraded, 'miss' AS cache,
    120::BIGINT AS input_tokens, 40::BIGINT AS output_tokens, (0.0001 * (1 + i % 7))::DOUBLE AS cost_usd,
    200 * exp(0.4 * sqrt(-2 * ln(random() + 1e-12))) AS ttft_ms, latency_ms, 'stop' AS finish_reason,
    random() > 0.005 AS json_valid, CASE WHEN is_failed THEN 'ServerError' END AS error_class, NULL::VARCHAR AS verdict
FROM (
    SELECT i, random() < 0.01 AS is_failed,
        800 * exp(0.4 * sqrt(-2 * ln(random() + 1e-12)) * cos(6.283185 * random())) AS latency_ms
    FROM range($count) AS numbers(i)
)
UNION ALL BY NAME
SELECT 'feedback' AS kind, 1::BIGINT AS schema_version, 'call-' || i AS call_id,
    make_timestamptz({BEGIN_US} + 90000000 + i * ({HOURS * 3_600_000_000} // $count)) AS "at", 'library' AS origin,
    CASE WHEN random() < 0.62 THEN 'accepted' ELSE 'rejected' END AS verdict
FROM range(0, $count, 2) AS numbers(i)
"""  # noqa: S608 - numbers of ours

_PLAIN = """
import resource, sys, json, time
begin = time.perf_counter()
import duckdb
c = duckdb.connect(config={{"threads": 2, "temp_directory": sys.argv[2]}})
c.execute("SET TimeZone = 'UTC'")
c.execute("SET enable_progress_bar = false")
c.execute('''SELECT epoch_us("at") // 3600000000, variant, feature, count(*), count(*) FILTER (error_class IS NOT NULL),
    quantile_cont(latency_ms, [0.5, 0.95, 0.99]), quantile_cont(ttft_ms, [0.5, 0.95, 0.99])
    FROM {source} WHERE kind = 'call' GROUP BY ALL''').fetchall()
"""
_READ = """
import resource, sys, json, time
begin = time.perf_counter()
import duckdb
c = duckdb.connect(config={{"threads": 2, "temp_directory": sys.argv[2]}})
c.execute("SET TimeZone = 'UTC'")
c.execute("SET enable_progress_bar = false")
c.execute('''CREATE TABLE lines AS SELECT * FROM {source}''')
"""
_USERS = """
import resource, sys, json, time
begin = time.perf_counter()
import duckdb
c = duckdb.connect(config={{"threads": 2, "temp_directory": sys.argv[2], "preserve_insertion_order": False}})
c.execute("SET TimeZone = 'UTC'")
c.execute("SET enable_progress_bar = false")
c.execute('''{table} AS SELECT kind, schema_version, call_id, "at", origin, user_hash, session, feature, "release",
    variant, is_sticky, prompt_hash, requested_model, attempts, degraded, cache, cost_usd, ttft_ms, latency_ms,
    json_valid, error_class, verdict
    FROM {source}''')
c.execute('''
WITH calls AS (
    SELECT hash(call_id) AS call, variant, hash(coalesce(user_hash, session, call_id)) AS unit, feature, "release",
        epoch_us("at") // 3600000000 AS hour, prompt_hash, is_sticky,
        error_class IS NOT NULL OR degraded OR {last_model} <> requested_model AS failed,
        NOT json_valid AS invalid, latency_ms, ttft_ms, cost_usd
    FROM lines WHERE kind = 'call' AND schema_version = 1 AND origin IN ('library', 'serve') AND cache = 'miss'
), given AS (
    SELECT hash(call_id) AS call, arg_max(verdict, "at") = 'accepted' AS ok FROM lines WHERE kind = 'feedback'
    GROUP BY 1
), users AS (
    SELECT variant, unit, hour, count(*) AS n, count(*) FILTER (failed) AS failed_n, count(invalid) AS json_n,
        count(*) FILTER (invalid) AS invalid_n, avg(ln(latency_ms)) AS latency, avg(ln(ttft_ms)) AS ttft,
        avg(cost_usd) AS cost, count(ok) AS given_n, count(*) FILTER (NOT ok) AS rejected_n, max(feature) AS feature,
        max("release") AS "release", max(prompt_hash) AS prompt_hash, bool_and(is_sticky) AS is_sticky
    FROM calls LEFT JOIN given USING (call) GROUP BY variant, unit, hour
)
SELECT variant, hour, count(DISTINCT unit), sum(n), sum(failed_n / n), sum((failed_n / n) ** 2),
    sum(invalid_n / nullif(json_n, 0)), sum(latency), sum(latency ** 2), sum(ttft), sum(ttft ** 2), sum(cost),
    sum(cost ** 2), sum(rejected_n / nullif(given_n, 0)), max(feature), max("release"), max(prompt_hash),
    bool_and(is_sticky)
FROM users GROUP BY variant, hour''').fetchall()
"""
_OURS = f"""
import resource, sys, json, time
from pathlib import Path
begin = time.perf_counter()
from flowai.canary.judge import evaluate_rollout
from flowai.comparison.evidence import DecisionRules
from flowai.comparison.count import count_arms
from flowai.analytics.event_query import TimeRange, open_log
from flowai.comparison.metrics import METRICS
from flowai.comparison.spec import COLUMNS, ComparisonSpec, RolloutStage, rollout_sides
from flowai.registry.policies import CanaryPolicy
time_range = TimeRange(since_us={BEGIN_US}, until_us={BEGIN_US + HOURS * 3_600_000_000})
spec = ComparisonSpec(sides=rollout_sides("v2"), feature=None,
    stages=(RolloutStage(percent=25, time_range=time_range),),
    feedback_us=3_600_000_000, now_us=time_range.until_us + 7_200_000_000)
with open_log(Path(sys.argv[1]), COLUMNS, spec.time_range) as log:
    counts = count_arms(log, spec)
policy = CanaryPolicy()
margins = {{name: policy.margins.of(name) for name in METRICS}}
rules = DecisionRules(alpha=0.05, guardrails=policy.guardrails, margins=margins, baseline="v1")
report = evaluate_rollout(counts, spec, rules)
assert report.arms["candidate"].call_count, report
"""
_END = """
used = resource.getrusage(resource.RUSAGE_SELF)
# not ru_maxrss: Linux hands a new process the peak of the one that started it
with open("/proc/self/status") as status:
    peak_kb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps([used.ru_utime + used.ru_stime, time.perf_counter() - begin, peak_kb / 1024]))
"""


def rows(sizes: tuple[tuple[str, int], ...] = SIZES, pairs_count: int = PAIRS_COUNT) -> list[tuple[str, ...]]:
    """Measure and return the rows of the table."""
    table: list[tuple[str, ...]] = []
    for ending, count in sizes:
        with tempfile.TemporaryDirectory() as place:
            log = Path(place) / ending
            write_log(log, ending, count)
            table += _compare(log, ending, count, pairs_count)
    return table


def write_log(directory: Path, ending: str, count: int) -> None:
    """Write a synthetic log of one file."""
    import duckdb  # noqa: TID251 - it is the peer

    day = directory / "dt=2026-05-04"
    day.mkdir(parents=True)
    # as compaction writes a log: its groups are bounded in bytes
    groups = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {rows_per_group(LINE_BYTES)}"
    form = groups if ending == "parquet" else "FORMAT json, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ'"
    with duckdb.connect(config={"threads": 2, "memory_limit": "2GB", "temp_directory": str(directory)}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SELECT setseed(0.5)")
        connection.execute(f"COPY ({_EVENTS}) TO '{day / f'bench.{ending}'}' ({form})", {"count": count})


def _compare(log: Path, ending: str, count: int, pairs_count: int) -> list[tuple[str, ...]]:
    pattern = f"{log}/*/*.{ending}"
    if ending == "parquet":
        source, script, name = f"read_parquet('{pattern}')", _PLAIN, "exact quantiles in DuckDB"
        table, last_model = "CREATE VIEW lines", "json_extract_string(attempts, '$[#-1].model')"
    else:
        source, script, name = f"read_json('{pattern}', format = 'newline_delimited')", _READ, "DuckDB's own read"
        table, last_model = "CREATE TABLE lines", "attempts[-1].model"
    by_user = _USERS.format(source=source, table=table, last_model=last_model)
    runs = [(_run(_OURS, log), _run(script.format(source=source), log), _run(by_user, log)) for _ in range(pairs_count)]
    size = f"{count / 1e6:g} M calls, {ending}"
    rows: list[tuple[str, ...]] = []
    for peer_at, peer_name in ((1, name), (2, "users, means and feedback in one DuckDB query")):
        for at, (what, unit) in enumerate((("CPU", "s"), ("time", "s"), ("memory", "MB"))):
            ours, peer = (statistics.median(run[side][at] for run in runs) for side in (0, peer_at))
            ratio = statistics.median(run[0][at] / run[peer_at][at] for run in runs)
            what_of = f"verdict over {size}: {what}"
            rows.append((what_of, f"{ours:.1f} {unit}", f"{peer:.1f} {unit}", f"{ratio:.2f}", peer_name))
    return rows


def _run(script: str, log: Path) -> tuple[float, float, float]:
    """Run in a fresh process; give seconds of CPU and of time, and the most memory, MB."""
    with tempfile.TemporaryDirectory() as spill:
        done = subprocess.run(
            [sys.executable, "-c", script + _END, str(log), spill], check=True, capture_output=True, text=True
        )
    cpu_s, seconds, memory_mb = json.loads(done.stdout)
    return cpu_s, seconds, memory_mb


if __name__ == "__main__":
    for row in rows(HUGE, 1) if "--huge" in sys.argv else rows():
        print(" | ".join(row))
