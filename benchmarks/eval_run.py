"""A whole `flowai eval`: 1,000 cases with two assertions, 50 calls in flight, all reports written.

Beside it, in interleaved pairs of whole processes: a script that imports LiteLLM and awaits `litellm.acompletion` for
the same 1,000 requests, 50 at a time, and keeps nothing. Both call a loopback server that answers after 50 ms. Then
the same evaluation again, fully cached.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

HEADER = ("what", "flowai", "peer", "ratio", "how")
CASES_COUNT = 1000
CONCURRENCY = 50
DELAY_MS = 50
PAIRS_COUNT = 5
CACHED_COUNT = 7
TESTS = Path(__file__).resolve().parents[1] / "tests"
BARE = """
import asyncio, os, sys
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
litellm.suppress_debug_info = True
async def main():
    gate = asyncio.Semaphore({concurrency})
    async def one(number):
        async with gate:
            await litellm.acompletion(
                model="openai/gpt-4o-mini", api_base="{base_url}", api_key="scripted-key-0123456789", max_retries=0,
                temperature=0, max_tokens=50,
                messages=[{{"role": "system", "content": "Repeat the text."}},
                          {{"role": "user", "content": f"text number {{number}} of a thousand"}}])
    await asyncio.gather(*(one(number) for number in range({count})))
asyncio.run(main())
"""


class Cost(NamedTuple):
    """Cost of a process: CPU and wall seconds, peak memory in MB (of its largest process)."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def rows() -> list[tuple[str, ...]]:
    """Measure and return the rows; cells as in HEADER."""
    command = [sys.executable, "-m", "support.scripted_provider", "--port", "0", "--delay-ms", str(DELAY_MS)]
    with (
        subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as place,
    ):
        try:
            assert server.stdout is not None  # noqa: S101 - asked for above
            base_url = server.stdout.readline().split()[-1]
            return _measure(base_url, Path(place))
        finally:
            server.kill()


def _measure(base_url: str, root: Path) -> list[tuple[str, ...]]:
    sys.path.insert(0, str(TESTS))
    from support.sample_project import make_project

    project = make_project(root, base_url)
    assertions = [{"type": "contains", "value": "hello"}, {"type": "word-count", "value": {"max": 50}}]
    texts = (f"text number {number} of a thousand" for number in range(CASES_COUNT))
    project.cases(*({"id": f"c{n}", "vars": {"text": text}, "assert": assertions} for n, text in enumerate(texts)))
    script = BARE.format(base_url=base_url, concurrency=CONCURRENCY, count=CASES_COUNT)
    bare = [sys.executable, "-c", script]
    ours = [str(Path(sys.executable).with_name("flowai")), "eval", "-j", str(CONCURRENCY)]
    pairs = []
    for _ in range(PAIRS_COUNT):
        shutil.rmtree(root / ".flowai", ignore_errors=True)
        pairs.append((_cost(ours, root), _cost(bare, root)))
    before = _request_count(base_url)
    cached = [_cost(ours, root) for _ in range(CACHED_COUNT)]
    requests = _request_count(base_url) - before
    return [*_fresh_rows(pairs), *_cached_rows(cached, requests)]


def _fresh_rows(pairs: list[tuple[Cost, Cost]]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = []
    how = f"medians of {PAIRS_COUNT} interleaved pairs of processes"
    for name, unit, index in (("CPU", "s", 0), ("wall", "s", 1), ("peak memory", "MB", 2)):
        mine = statistics.median(pair[0][index] for pair in pairs)
        peer = statistics.median(pair[1][index] for pair in pairs)
        ratio = statistics.median(pair[0][index] / pair[1][index] for pair in pairs)
        digits = 0 if unit == "MB" else 2
        table.append(
            (
                f"eval, {CASES_COUNT} cases, {CONCURRENCY} in flight: {name}",
                f"{mine:.{digits}f} {unit}",
                f"bare litellm loop {peer:.{digits}f} {unit}",
                f"{ratio:.2f}x",
                how,
            )
        )
    return table


def _cached_rows(cached: list[Cost], request_count: int) -> list[tuple[str, ...]]:
    wall_s = statistics.median(cost.wall_s for cost in cached)
    peak_mb = statistics.median(cost.peak_mb for cost in cached)
    how = f"wall, median of {CACHED_COUNT}; {request_count} requests; peak memory {peak_mb:.0f} MB"
    return [(f"the same, fully cached ({CASES_COUNT} cases)", f"{wall_s:.2f} s", "", "", how)]


def _cost(command: list[str], place: Path) -> Cost:
    environ = {**os.environ, "SCRIPTED_KEY": "scripted-key-0123456789"}
    started_s = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=place, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None  # noqa: S101 - asked for above
    err = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}: {err[-500:]}")
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - started_s, used.ru_maxrss / 1024)


def _request_count(base_url: str) -> int:
    with urllib.request.urlopen(base_url.removesuffix("/v1") + "/count") as answer:  # noqa: S310 - loopback, ours
        counted = json.loads(answer.read())
    return int(counted["request_count"])


def main() -> None:
    """Print the rows as Markdown."""
    for row in (HEADER, ("---",) * len(HEADER), *rows()):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
