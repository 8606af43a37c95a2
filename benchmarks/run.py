"""Runs every benchmark and writes `benchmarks/results.md`: ratios first, medians of interleaved pairs."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.md"
LIBRARIES = ("litellm", "typer", "msgspec", "diskcache")


PARTS = (
    (
        "Start-up",
        "startup",
        "Targets: `--version` at most 0.1 s, `--help` and `eval --help` at most 0.25 s above a bare start.",
    ),
    (
        "The gateway over one bare call",
        "gateway_overhead",
        "Targets: CPU at most 0.25x `litellm.acompletion` and 3x a bare call; memory grows by less than 2 %.",
    ),
    (
        "An outage",
        "outage",
        "Targets: 0 failed calls; an open breaker costs at most 10 %; silence at most the first-token limit + 1 s.",
    ),
    (
        "Caches",
        "caches",
        "Targets: an exact hit at most 0.1 ms on disk, 0.2 ms on Redis; 0 false hits while 60 % of paraphrases hit.",
    ),
    (
        "The semantic cache on labelled pairs",
        "semantic_cache",
        "Targets: false hits at most the bound; at least 0.9x the hits of vCache's rule.",
    ),
    (
        "From a cold process to the first answer",
        "first_answer",
        "Target: at most 0.7 s.",
    ),
    (
        "HTTP",
        "serve_rps",
        "Targets: at least 5x the requests per second per core of LiteLLM's proxy, and more than Portkey's.",
    ),
    (
        "A rollback",
        "rollback",
        "Targets: p99 at most 250 ms until no process serves it; 0 failed calls; 2 s to confirm.",
    ),
    (
        "A fleet under faults",
        "chaos",
        "Targets: 0 late calls, 0 lost or doubled events, 0 releases blamed, 0 callers refused, 0 rounds stuck.",
    ),
    ("The direct client", "client_overhead", "Target: at most 0.25x the CPU of bare LiteLLM."),
    ("Rendering", "rendering", "For the record."),
    (
        "A whole evaluation",
        "eval_run",
        "Targets: wall at most 2.0x the ideal and 0.25x the bare loop, CPU 0.2x; at most 100 MB; each tool slower.",
    ),
    (
        "Memory by the number of cases",
        "eval_memory",
        "Target: 100,000 cases replayed in at most 300 MB.",
    ),
    (
        "An evaluation that is killed",
        "resume_killed",
        "Targets: every report equal, 0 lost trials, at most the 50 calls in flight repeated.",
    ),
    (
        "The compare page",
        "compare_page",
        "Targets: at most 5 MB per 1,000 cases; filters 10,000 rows in at most 100 ms.",
    ),
    (
        "The gate's statistics",
        "gate_statistics",
        "Targets at alpha 0.01: A/A worse in at most 1 %, -5 points found in 95 %; see `docs/explanation/gate.md`.",
    ),
    (
        "Drift of a model",
        "drift_statistics",
        "Targets: A/A drifted in at most 1 %, 10 points found in 95 %; see `docs/how-to/watch-for-drift.md`.",
    ),
    ("End dates of models", "model_dates", "Target: at most 0.2 s, without LiteLLM and without network."),
    (
        "An upgrade of a model",
        "upgrade_verdicts",
        "Targets: right in at least 95 / 90 / 100 %, for at most 60 % of the calls of a fixed-n test.",
    ),
    (
        "The verdict's statistics",
        "verdict_simulation",
        "Targets: false rollbacks and false promotions at most 5 %; see `docs/explanation/verdicts.md`.",
    ),
    (
        "Evidence for rare failures where failures are frequent",
        "frequent_failures",
        "Known limit: above 5 % where most users fail; see `docs/explanation/verdicts.md`.",
    ),
    (
        "A split that is not as configured",
        "verdict_mismatch",
        "Targets: 1 % that delivers 1.5 % noticed within 10,000 assignments; false alarms at most 0.1 %.",
    ),
    (
        "Rates that a judge measured",
        "judge_rates",
        "Target: intervals cover at least 94 %; see `docs/explanation/verdicts.md`.",
    ),
    (
        "A gate whose judge errs",
        "judged_gate",
        "Targets: a wrong verdict in at most 5 %.",
    ),
    (
        "A rollout whose judge errs",
        "judged_rollouts",
        "Targets: false rollbacks and false promotions at most 5 %; a bias within its stated bound.",
    ),
    ("Experiments", "experiment_simulation", "Target: a false winner, or a false alarm of a guardrail, at most 5 %."),
    (
        "The verdict's query",
        "verdict_query",
        "Target: at most 1.3x a query of users, means and feedback that reads the same columns; 10 M calls in 200 MB.",
    ),
    (
        "Scrubbing",
        "scrub",
        "Targets: structured recall 0.97, precision 0.93, 8,000 rows/s, at most 2 false hits per 1,000 lines.",
    ),
    (
        "Duplicates and leaks",
        "finetune_dedup",
        "Targets: every copy of a case, 99 % of edited ones; 1 M pairs in 500 MB.",
    ),
    (
        "A post-mortem",
        "postmortem",
        "Targets: at least 90 % of planted faults among the first ten findings; 1 M calls in 15 s.",
    ),
)
"""Title, module and targets of each part; a module has HEADER and `rows()`."""


def main() -> None:
    """Measure every part, or the named ones, each in a process of its own; other parts keep their results."""
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {_cores()} cores"
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    head = "# Benchmarks\n\nWritten by `make bench`. Quote ratios: absolute times depend on the machine.\n\n"
    head += f"{datetime.now(UTC):%Y-%m-%d} · {machine} · {libraries}\n"
    sections = r"^## (.+?)\n\n(.*?)\s*(?=^## |\Z)"
    found = dict(re.findall(sections, RESULTS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
    for title, name, note in PARTS:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        sys.stderr.write(f"{title} ...\n")
        # a process of its own: memory of one part must not count in the peak of the next
        done = subprocess.run(
            [sys.executable, __file__, "--rows", name, note], stdout=subprocess.PIPE, text=True, check=True
        )
        found[title] = done.stdout.rstrip()
        parts = [f"## {title}\n\n{found[title]}\n" for title, _, _ in PARTS if title in found]
        RESULTS.write_text("\n".join([head, *parts]), encoding="utf-8")
    sys.stderr.write("written: benchmarks/results.md\n")


def rows(name: str, note: str) -> None:
    """Measure one part and print its section."""
    sys.path.insert(0, str(HERE))
    module = import_module(name)
    table = [module.HEADER, ("---",) * len(module.HEADER), *module.rows()]
    print(f"{(module.__doc__ or '').strip()}\n\n{note}\n")
    print("\n".join("| " + " | ".join(row) + " |" for row in table))


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rows"]:
        rows(*sys.argv[2:])
    else:
        main()
