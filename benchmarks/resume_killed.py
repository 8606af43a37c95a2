"""Kills `flowai eval` at random points and resumes it: the report must be that of a run that nothing disturbed.

1,000 cases against a loopback server that answers after 50 ms, 50 calls in flight. Each round kills the process by
SIGKILL as soon as its log has a random number of trials, and continues with `--resume`. A round counts as equal if the
reports are equal but for times and ids, and its repeated calls are those that the server got beyond one per case.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

HEADER = ("what", "rounds", "equal reports", "lost trials", "repeated calls, most", "how")
CASES_COUNT = 1000
CONCURRENCY = 50
DELAY_MS = 50
ROUNDS_COUNT = 100
SEED = 14
MAX_PAUSE_S = 0.02
KEY = "scripted-key-0123456789"
TESTS = Path(__file__).resolve().parent.parent / "tests"
TIMES = frozenset({"elapsed_s", "started_at", "concurrency_achieved", "run_id", "changes", "earlier"})
OF_TRIALS = frozenset({"latency_ms", "ttft_ms", "call_id"})


def rows(rounds_count: int = ROUNDS_COUNT) -> list[tuple[str, ...]]:
    """Measure and return the rows; cells as in HEADER."""
    command = [sys.executable, "-m", "support.scripted_provider", "--port", "0", "--delay-ms", str(DELAY_MS)]
    with (
        subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as place,
    ):
        try:
            assert server.stdout is not None  # noqa: S101 - asked for above
            base_url = server.stdout.readline().split()[-1]
            return [_measure(base_url, Path(place), rounds_count)]
        finally:
            server.kill()


def _measure(base_url: str, root: Path, rounds_count: int) -> tuple[str, ...]:
    sys.path.insert(0, str(TESTS))
    from support.sample_project import make_project

    project = make_project(root, base_url)
    asserts = [{"type": "contains", "value": "hello"}, {"type": "word-count", "value": {"max": 50}}]
    project.cases(
        *({"id": f"c{n}", "vars": {"text": f"text number {n}"}, "assert": asserts} for n in range(CASES_COUNT))
    )
    _run(root)
    expected = _undisturbed(root)
    choose = random.Random(SEED)  # noqa: S311 - kill points, no secrets
    equal_count = lost_count = most_repeated = 0
    for _ in range(rounds_count):
        shutil.rmtree(root / ".flowai")
        shutil.rmtree(root / "reports")
        before = _request_count(base_url)
        kept = _kill(root, choose.randrange(CASES_COUNT), choose.uniform(0, MAX_PAUSE_S))
        killed_at = _request_count(base_url)
        _run(root, *(["--resume"] if kept is not None else []))
        total = _request_count(base_url) - before
        equal_count += _undisturbed(root) == expected
        lost_count += max(0, _request_count(base_url) - killed_at - (CASES_COUNT - (kept or 0)))
        most_repeated = max(most_repeated, total - CASES_COUNT)
    how = f"{CASES_COUNT} cases, {CONCURRENCY} calls in flight, SIGKILL at a random trial, then --resume"
    return (
        "flowai eval, killed", str(rounds_count), str(equal_count), str(lost_count), str(most_repeated), how,
    )  # fmt: skip


def _command(*options: str) -> list[str]:
    return [sys.executable, "-m", "flowai", "eval", "-j", str(CONCURRENCY), "--no-cache", *options]


def _run(root: Path, *options: str) -> None:
    environ = {**os.environ, "SCRIPTED_KEY": KEY}
    done = subprocess.run(_command(*options), cwd=root, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr[-800:]}")


def _kill(root: Path, trial_count: int, pause_s: float) -> int | None:
    """Kill a run once it has a number of trials; return how many its log has, None if it had not begun."""
    log = root / ".flowai" / "runs" / "0001" / "run.jsonl"
    environ = {**os.environ, "SCRIPTED_KEY": KEY}
    with subprocess.Popen(
        _command(), cwd=root, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and _line_count(log) <= trial_count:
            time.sleep(0.002)
        time.sleep(pause_s)
        process.send_signal(signal.SIGKILL)
    lines = log.read_bytes().split(b"\n") if log.exists() else []
    if any(b'"type":"finished"' in line[:20] for line in lines):
        raise RuntimeError("the run was finished before it was killed")
    return sum(b'"type":"trial"' in line[:20] for line in lines[:-1]) if len(lines) > 1 else None


def _line_count(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def _undisturbed(root: Path) -> dict[str, Any]:
    """Read the report without times, ids of calls, and the distributions of times."""
    (file,) = (root / "reports").glob("*/report.json")
    report: dict[str, Any] = json.loads(file.read_bytes())
    kept = {key: value for key, value in report.items() if key not in TIMES}
    kept["trials"] = [{key: part for key, part in trial.items() if key not in OF_TRIALS} for trial in report["trials"]]
    for totals in (kept["totals"], *(group["totals"] for group in kept["groups"])):
        del totals["latency"], totals["ttft"]
    return kept


def _request_count(base_url: str) -> int:
    with urllib.request.urlopen(base_url.removesuffix("/v1") + "/count") as answer:  # noqa: S310 - loopback, ours
        return int(json.loads(answer.read())["request_count"])


def main() -> None:
    """Print the rows as Markdown; an argument is the number of rounds."""
    rounds_count = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS_COUNT
    for row in (HEADER, ("---",) * len(HEADER), *rows(rounds_count)):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
