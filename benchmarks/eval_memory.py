"""Memory of `flowai eval` by the number of cases: a recording is replayed, all reports are written.

Each case has its own text and two assertions; every tenth fails. Peak memory is the process's own, measured by the
kernel. `python benchmarks/eval_memory.py 100000` measures one size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEADER = ("what", "cases", "peak memory", "CPU", "wall")
SIZES = (1_000, 10_000, 100_000)
TESTS = Path(__file__).resolve().parent.parent / "tests"
UNUSED_URL = "http://127.0.0.1:9/v1"


def rows(sizes: tuple[int, ...] = SIZES) -> list[tuple[str, ...]]:
    """Measure and return the rows; cells as in HEADER."""
    return [_measure(size) for size in sizes]


def _measure(case_count: int) -> tuple[str, ...]:
    sys.path.insert(0, str(TESTS))
    from support.sample_project import make_project

    with tempfile.TemporaryDirectory() as place:
        project = make_project(Path(place), UNUSED_URL)
        with (project.root / "datasets" / "echo.jsonl").open("w", encoding="utf-8") as stream:
            for number in range(case_count):
                asserts = [{"type": "contains", "value": "hello"}, {"type": "word-count", "value": {"max": 50}}]
                case = {"id": f"c{number}", "vars": {"text": f"text number {number}"}, "assert": asserts}
                stream.write(json.dumps(case) + "\n")
        _record(project.root)
        command = [sys.executable, "-m", "flowai", "eval", "--replay", "recording.jsonl"]
        started_s = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=project.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
        )
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started_s
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 1:
            raise RuntimeError(f"exit status {process.returncode}; expected 1, as some cases fail")
        (report,) = (project.root / "reports").glob("*/report.json")
        if report.read_bytes().count(b'"outcome":') != case_count:
            raise RuntimeError("the report lacks trials")
    cpu_s = used.ru_utime + used.ru_stime
    peak_mb = used.ru_maxrss / 1024
    return ("flowai eval --replay", f"{case_count:,}", f"{peak_mb:.0f} MB", f"{cpu_s:.1f} s", f"{wall_s:.1f} s")


def _record(root: Path) -> None:
    """Write the recording of all answers, without a provider."""
    import msgspec

    from flowai.evals.runs.plan import Selection, plan_trials
    from flowai.evals.runs.prepared import TrialPreparer
    from flowai.evals.runs.resolver import TargetResolver
    from flowai.providers import Completion
    from flowai.providers.replay import RecordedResponse, request_key
    from flowai.workspace.workspace import CommandContext, open_workspace

    workspace = open_workspace(CommandContext(directory=root))
    resolver = TargetResolver(workspace.project, workspace.registry, workspace.library, release=workspace.release)
    preparer = TrialPreparer(workspace)
    with (root / "recording.jsonl").open("wb") as stream:
        for number, planned in enumerate(plan_trials(resolver.resolve(None), Selection())):
            request = preparer.prepare_trial(planned).request
            completion = Completion(
                text=f"hello world {number}" if number % 10 else "bye",
                model=request.endpoint.model,
                served_model="gpt-4o-mini",
                provider="openai",
                finish_reason="stop",
                input_tokens=10,
                output_tokens=5,
                cost_usd=1e-5,
                latency_ms=50.0,
                ttft_ms=None,
            )
            line = RecordedResponse(
                key=request_key(request), model=request.endpoint.model, question="", completion=completion
            )
            stream.write(msgspec.json.encode(line) + b"\n")


def main() -> None:
    """Print the rows as Markdown; an argument is the number of cases."""
    sizes = (int(sys.argv[1]),) if len(sys.argv) > 1 else SIZES
    for row in (HEADER, ("---",) * len(HEADER), *rows(sizes)):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
