"""Runs every benchmark and writes `benchmarks/results.md`: ratios first, medians of interleaved pairs."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
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
        "Targets: at most 0.3 ms and 8 % CPU over `litellm.acompletion`; memory grows by less than 2 %.",
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
    ("HTTP", "serve_rps", "Target: more requests per second than LiteLLM's proxy."),
    (
        "A rollback",
        "rollback",
        "Targets: p99 at most 250 ms until no process serves it; 0 failed calls; 2 s to confirm.",
    ),
    ("The door to LiteLLM", "client_overhead", "For the record."),
    ("Rendering", "rendering", "For the record."),
    (
        "A whole evaluation",
        "eval_run",
        "Targets: CPU and wall at most 1.15x; cached at most 1.0 s with 0 requests; at most 250 MB.",
    ),
    (
        "The verdict's statistics",
        "verdict_simulation",
        "Targets: false rollbacks at most 5 %; see `docs/explanation/verdicts.md`.",
    ),
    (
        "The verdict's query",
        "verdict_query",
        "Target: no slower than exact quantiles by DuckDB; 10 M calls in 200 MB.",
    ),
)
"""Title, module and targets of each part; a module has HEADER and `rows()`."""


def main() -> None:
    """Measure, and write after each part what there is; each says on stderr that it begins."""
    sys.path.insert(0, str(HERE))
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {_cores()} cores"
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    lines = ["# Benchmarks", "", "Written by `make bench`. Quote ratios: absolute times depend on the machine.", ""]
    lines += [f"{datetime.now(UTC):%Y-%m-%d} · {machine} · {libraries}", ""]
    for title, name, note in PARTS:
        sys.stderr.write(f"{title} ...\n")
        module = import_module(name)
        table = [module.HEADER, ("---",) * len(module.HEADER), *module.rows()]
        lines += [f"## {title}", "", (module.__doc__ or "").strip(), "", note, ""]
        lines += ["| " + " | ".join(row) + " |" for row in table]
        lines.append("")
        (HERE / "results.md").write_text("\n".join(lines), encoding="utf-8")
    sys.stderr.write("written: benchmarks/results.md\n")


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()
