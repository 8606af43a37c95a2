"""A whole `flowai eval`: 1,000 cases with two assertions, 50 calls in flight, all reports written.

Each tool runs the same cases as a process of its own against a loopback server that answers after 50 ms, so that no
run can be shorter than 1.0 s; the tools take turns, medians of the rounds. A bare loop over `litellm.acompletion`
keeps nothing; deepeval and pydantic-evals have no client, and use OpenAI's. Ratios: flowai by the tool in the same
round. Then the same evaluation again, fully cached. `python benchmarks/install_peers.py` installs the tools.
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
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from peers import peer_named

HEADER = ("what", "wall", "CPU", "peak memory", "flowai's wall", "flowai's CPU", "how")
CASES_COUNT = 1000
CONCURRENCY = 50
DELAY_MS = 50
ROUNDS_COUNT = 3
SLOW_ROUNDS_COUNT = 1
"""Rounds of a tool that takes more than `SLOW_S`."""
SLOW_S = 30.0
CACHED_COUNT = 7
KEY = "scripted-key-0123456789"
HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
ASSERTIONS = [{"type": "contains", "value": "hello"}, {"type": "word-count", "value": {"max": 50}}]


class Cost(NamedTuple):
    """Cost of a process with its children: wall and CPU seconds, peak memory in MB of its largest process."""

    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool under measurement."""

    name: str
    command: tuple[str, ...]
    environ: dict[str, str]
    report: Path | None = None
    """A file that the run must write; None without one."""


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
    texts = (f"text number {number} of a thousand" for number in range(CASES_COUNT))
    project.cases(*({"id": f"c{n}", "vars": {"text": text}, "assert": ASSERTIONS} for n, text in enumerate(texts)))
    flowai = _flowai()
    peers, missing = _peers(base_url, root)
    rounds: dict[str, list[tuple[Cost, Cost]]] = {peer.name: [] for peer in peers}
    for _ in range(ROUNDS_COUNT):
        for peer in peers:
            done = rounds[peer.name]
            if len(done) >= SLOW_ROUNDS_COUNT and done[0][1].wall_s > SLOW_S:
                continue
            shutil.rmtree(root / ".flowai", ignore_errors=True)
            done.append((_cost(flowai, root), _cost(peer, root)))
    before = _request_count(base_url)
    cached = [_cost(flowai, root) for _ in range(CACHED_COUNT)]
    requests = _request_count(base_url) - before
    return [_flowai_row(rounds), *_peer_rows(rounds), *missing, _cached_row(cached, requests)]


def _flowai() -> Tool:
    program = str(Path(sys.executable).with_name("flowai"))
    return Tool(name="flowai eval", command=(program, "eval", "-j", str(CONCURRENCY)), environ={"SCRIPTED_KEY": KEY})


def _peers(base_url: str, root: Path) -> tuple[list[Tool], list[tuple[str, ...]]]:
    """Return the installed tools, and a row for each that is not."""
    cases = str(root / "datasets" / "echo.jsonl")
    runs = HERE / "peer_runs"
    loop = (sys.executable, str(runs / "litellm_loop.py"), cases, base_url, str(CONCURRENCY))
    tools = [Tool(name="bare litellm.acompletion loop", command=loop, environ={})]
    missing: list[tuple[str, ...]] = []
    for name in ("promptfoo", "pydantic-evals", "deepeval", "inspect-ai"):
        peer = peer_named(name)
        version = peer.version()
        if version is None:
            missing.append((name, "-", "-", "-", "-", "-", "skipped: not installed"))
            continue
        report = root / f"{name}.json"
        title = f"{name} {version}"
        if name == "promptfoo":
            tools.append(_promptfoo(title, str(peer.path), base_url, root, report))
        elif name == "inspect-ai":
            tools.append(_inspect(title, str(peer.path), base_url, cases, root))
        else:
            script = str(runs / f"{name.removesuffix('-evals').replace('-', '_')}_run.py")
            if name == "pydantic-evals":
                script = str(runs / "pydantic_evals_run.py")
            command = (str(peer.path), script, cases, base_url, str(CONCURRENCY), str(report))
            tools.append(Tool(name=title, command=command, environ={}, report=report))
    return tools, missing


def _promptfoo(name: str, program: str, base_url: str, root: Path, report: Path) -> Tool:
    """Return a run of promptfoo; nothing of it goes to the network or to the user's home."""
    config = {
        "prompts": [
            json.dumps([{"role": "system", "content": "Repeat the text."}, {"role": "user", "content": "{{text}}"}])
        ],
        "providers": [
            {
                "id": "openai:chat:gpt-4o-mini",
                "config": {"apiBaseUrl": base_url, "apiKey": KEY, "temperature": 0, "max_tokens": 50},
            }
        ],
        "tests": [
            {
                "vars": {"text": f"text number {number} of a thousand"},
                "assert": [
                    {"type": "contains", "value": "hello"},
                    {"type": "word-count", "value": {"max": 50}},
                ],
            }
            for number in range(CASES_COUNT)
        ],
    }
    file = root / "promptfooconfig.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    environ = {
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
        "PROMPTFOO_DISABLE_SHARING": "1",
        "PROMPTFOO_CONFIG_DIR": str(root / "promptfoo-home"),
        "CI": "1",
    }
    flags = ("-j", str(CONCURRENCY), "--no-cache", "--no-table", "--no-progress-bar", "-o", str(report))
    return Tool(name=name, command=(program, "eval", "-c", str(file), *flags), environ=environ, report=report)


def _inspect(name: str, program: str, base_url: str, cases: str, root: Path) -> Tool:
    task = shutil.copy(HERE / "peer_runs" / "inspect_task.py", root)  # it takes no absolute path
    flags = ("--max-connections", str(CONCURRENCY), "--max-samples", str(CONCURRENCY), "--max-tokens", "50")
    place = ("--temperature", "0", "--display", "none", "--log-dir", str(root / "inspect-logs"))
    environ = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": KEY, "INSPECT_DISABLE_MODEL_API_RETRIES": "1"}
    command = (
        program,
        "eval",
        Path(task).name,
        "-T",
        f"cases={cases}",
        "--model",
        "openai/gpt-4o-mini",
        *flags,
        *place,
    )
    return Tool(name=name, command=command, environ=environ)


def _flowai_row(rounds: dict[str, list[tuple[Cost, Cost]]]) -> tuple[str, ...]:
    costs = [mine for pairs in rounds.values() for mine, _ in pairs]
    ideal_s = CASES_COUNT / CONCURRENCY * DELAY_MS / 1000
    wall_s = statistics.median(cost.wall_s for cost in costs)
    how = f"median of {len(costs)} runs; wall is {wall_s / ideal_s:.1f}x the ideal {ideal_s:.1f} s"
    return ("flowai eval", *_figures(costs), "", "", how)


def _peer_rows(rounds: dict[str, list[tuple[Cost, Cost]]]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = []
    for name, pairs in rounds.items():
        wall = statistics.median(mine.wall_s / theirs.wall_s for mine, theirs in pairs)
        cpu = statistics.median(mine.cpu_s / theirs.cpu_s for mine, theirs in pairs)
        how = f"median of {len(pairs)} rounds"
        table.append((name, *_figures([theirs for _, theirs in pairs]), f"{wall:.2f}x", f"{cpu:.2f}x", how))
    return table


def _figures(costs: list[Cost]) -> tuple[str, str, str]:
    wall_s, cpu_s, peak_mb = (statistics.median(cost[index] for cost in costs) for index in range(3))
    return f"{wall_s:.2f} s", f"{cpu_s:.2f} s", f"{peak_mb:.0f} MB"


def _cached_row(cached: list[Cost], request_count: int) -> tuple[str, ...]:
    how = f"median of {CACHED_COUNT}; {request_count} requests"
    return (f"flowai eval, fully cached ({CASES_COUNT} cases)", *_figures(cached), "", "", how)


def _cost(tool: Tool, place: Path) -> Cost:
    started_s = time.perf_counter()
    process = subprocess.Popen(
        tool.command,
        cwd=place,
        env={**os.environ, **tool.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None  # noqa: S101 - asked for above
    err = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - started_s
    if process.returncode or (tool.report is not None and not tool.report.exists()):
        raise RuntimeError(f"{tool.name}: exit status {process.returncode}: {err[-800:]}")
    return Cost(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


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
