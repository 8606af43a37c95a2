"""What a post-mortem finds and what it takes: planted faults, logs in which nothing broke, a million calls.

Ten incidents of four faults each, all at once; a fault counts as found where one of the first ten findings names its
kind and just its calls, as they are or by another name. Time is of the whole command, in a fresh process, beside DuckDB
that only reads the same file. `FLOWAI_BENCH_CALLS` sets the calls of all incidents together; 1 M by default.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from incident_log import FEATURES, INCIDENTS, MODELS, Fault, Incident, write_incidents

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = ("what", "flowai", "peer", "ratio", "how")
CALLS_COUNT = int(os.environ.get("FLOWAI_BENCH_CALLS", "1000000"))
QUIET_COUNT = 10
PAIRS_COUNT = 3
MOST_FINDINGS = 10
_LANGUAGES = {"de": "German", "fr": "French", "es": "Spanish", "zh": "Chinese", "ru": "Cyrillic script"}
_LANGUAGES |= {"ar": "Arabic script"}
_READ = """
import duckdb, sys
with duckdb.connect(config={"threads": 2, "temp_directory": sys.argv[2]}) as connection:
    connection.execute(f"CREATE TABLE lines AS SELECT * FROM {sys.argv[1]}")
"""


def rows() -> list[tuple[str, str, str, str, str]]:
    """Measure and return the rows of the table."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        return [_recall(root / "incidents"), _false_findings(root / "quiet"), *_cost(root / "one")]


def _recall(root: Path) -> tuple[str, str, str, str, str]:
    incidents = [
        Incident(day=day, faults=faults, calls_count=CALLS_COUNT // len(INCIDENTS))
        for day, faults in enumerate(INCIDENTS)
    ]
    _project(root, incidents, seed=1)
    found = total = 0
    for incident in incidents:
        findings = _report(root, incident)["investigation"]["findings"][:MOST_FINDINGS]
        for fault in incident.faults:
            total += 1
            is_named = any(_names(finding, fault) for finding in findings)
            found += is_named
            if not is_named:
                sys.stderr.write(f"not named on day {incident.day}: {fault}\n")
    how = f"{len(incidents)} incidents, {CALLS_COUNT:,} calls; target 90 %"
    return "planted faults among the first ten findings", f"{found} of {total}", "-", f"{found / total:.0%}", how


def _false_findings(root: Path) -> tuple[str, str, str, str, str]:
    incidents = [Incident(day=day, faults=(), calls_count=30_000) for day in range(QUIET_COUNT)]
    _project(root, incidents, seed=2)
    found = sum(len(_report(root, incident)["investigation"]["findings"]) for incident in incidents)
    return "findings where nothing broke", f"{found}", "-", "-", f"{QUIET_COUNT} logs of 30,000 calls; 5 % each at most"


def _cost(root: Path) -> list[tuple[str, str, str, str, str]]:
    incident = Incident(day=0, faults=INCIDENTS[0], calls_count=1_000_000)
    _project(root, [incident], seed=3)
    events = root / ".flowai/events"
    pattern = f"{events}/*/*.jsonl"
    table = _pairs(root, incident, f"read_json('{pattern}', format = 'newline_delimited')", "JSONL")
    _to_parquet(pattern, events)
    return table + _pairs(root, incident, f"read_parquet('{events}/*/*.parquet')", "Parquet")


def _pairs(root: Path, incident: Incident, source: str, form: str) -> list[tuple[str, str, str, str, str]]:
    measured: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for _ in range(PAIRS_COUNT):
        flowai = _run(_command(incident), root)
        with tempfile.TemporaryDirectory() as spill:
            measured.append((flowai, _run([sys.executable, "-c", _READ, source, spill], root)))
    table = []
    for at, (what, unit) in enumerate((("time", "s"), ("memory", "MB"))):
        ours, peer = (statistics.median(pair[side][at] for pair in measured) for side in (0, 1))
        ratio = statistics.median(pair[0][at] / pair[1][at] for pair in measured)
        how = f"1 M calls, {form}, content kept; DuckDB only reads{'; target 15 s' if what == 'time' else ''}"
        table.append((f"post-mortem: {what}", f"{ours:.1f} {unit}", f"{peer:.1f} {unit}", f"{ratio:.2f}", how))
    return table


def _names(finding: dict[str, Any], fault: Fault) -> bool:
    if finding["kind"] != fault.kind:
        return False
    return any(_is_it(where, fault) for where in (finding["where"], *finding["also"]))


def _is_it(where: list[dict[str, str]], fault: Fault) -> bool:
    found = {part["attribute"]: part["value"] for part in where}
    if len(found) != len(fault.where):
        return False
    return all(_same(found, name, value) for name, value in fault.where.items())


def _same(found: dict[str, str], name: str, value: str) -> bool:
    if name == "hour":
        return found.get("time") == f"{value}:00 to {int(value) + 1}:00"
    if name == "input":
        spelled = found.get("input", "")
        return spelled.startswith("2,000 ") if value == "long" else spelled == "under 100 tokens"
    return found.get(name) == (_LANGUAGES[value] if name == "language" else value)


def _project(root: Path, incidents: Sequence[Incident], *, seed: int) -> None:
    """Write a project and its log."""
    root.mkdir()
    models = "".join(f"  {name}: {{model: {provider}/{name}}}\n" for name, provider in MODELS.items())
    features = "".join(f"  {name}: {{}}\n" for name in FEATURES)
    releases = "".join(
        f"  {release}:\n" + "".join(f"    {name}: {{prompt: prompts/{name}_v1, model: gpt-4o}}\n" for name in FEATURES)
        for release in ("v1", "v2")
    )
    text = f"schema_version: 1\nmodels:\n{models}features:\n{features}releases:\n{releases}current: v1\n"
    (root / "registry.yaml").write_text(text, encoding="utf-8")
    (root / "prompts").mkdir()
    for name in FEATURES:
        (root / f"prompts/{name}_v1.prompt").write_text("Hello", encoding="utf-8")
    write_incidents(root / ".flowai/events", incidents, seed=seed)


def _command(incident: Incident) -> list[str]:
    moments = ("--since", incident.since.isoformat(), "--until", incident.until.isoformat())
    return [sys.executable, "-m", "flowai", "postmortem", "--json", *moments]


def _report(root: Path, incident: Incident) -> dict[str, Any]:
    done = subprocess.run(_command(incident), cwd=root, check=True, capture_output=True, text=True)
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def _run(command: list[str], root: Path) -> tuple[float, float]:
    """Run in a fresh process; give seconds and the most memory, MB."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[:5]} failed: {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def _to_parquet(pattern: str, events: Path) -> None:
    """Turn the log into Parquet, one file a day, as its compaction does."""
    import duckdb  # noqa: TID251 - it is the peer

    (source,) = events.glob("*/*.jsonl")
    with duckdb.connect(config={"threads": 2, "memory_limit": "2GB", "temp_directory": str(events)}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        lines = f"read_json('{pattern}', format = 'newline_delimited', hive_partitioning = false, sample_size = -1)"
        wanted = f'SELECT * REPLACE ("at"::TIMESTAMPTZ AS "at") FROM {lines}'  # noqa: S608 - a path of ours
        connection.execute(f"COPY ({wanted}) TO '{source.with_suffix('.parquet')}' (FORMAT parquet)")
    source.unlink()


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row))
