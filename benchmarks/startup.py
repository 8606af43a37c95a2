"""Start-up: time until a command does anything, above a bare Python start."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time
from pathlib import Path

from peers import peer_named

HEADER = ("what", "flowai", "peer", "ratio", "how")
PAIRS_COUNT = 21
COMMANDS = (("--version",), ("--help",), ("eval", "--help"), ("cache", "stats"))
ROOT = Path(__file__).resolve().parents[1]


def rows() -> list[tuple[str, ...]]:
    """Measure and return one row per command; cells as in HEADER."""
    flowai = str(Path(sys.executable).with_name("flowai"))
    bare = [sys.executable, "-c", "pass"]
    table: list[tuple[str, ...]] = []
    for command in COMMANDS:
        pairs = [(_wall_s([flowai, *command]), _wall_s(bare)) for _ in range(PAIRS_COUNT)]
        mine = statistics.median(pair[0] for pair in pairs)
        peer = statistics.median(pair[1] for pair in pairs)
        above = statistics.median(pair[0] - pair[1] for pair in pairs)
        how = f"wall, medians of {PAIRS_COUNT} interleaved pairs; {above:.3f} s above the peer"
        name = f"`flowai {' '.join(command)}`"
        table.append((name, f"{mine:.3f} s", f"bare Python {peer:.3f} s", f"{mine / peer:.1f}x", how))
    return [*table, *_peers()]


def _peers() -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = []
    for name, program in (("promptfoo", "promptfoo"), ("inspect-ai", "inspect")):
        peer = peer_named(name)
        if peer.version() is None:
            table.append((f"`{program} --version`", "", f"skipped: {name} is not installed", "", ""))
        else:
            seconds = statistics.median(_wall_s([str(peer.path), "--version"]) for _ in range(5))
            table.append((f"`{program} --version`", "", f"{name} {seconds:.2f} s", "", "wall, median of 5"))
    return table


def _wall_s(command: list[str]) -> float:
    started_s = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - started_s


def main() -> None:
    """Print the rows as Markdown."""
    for row in (HEADER, ("---",) * len(HEADER), *rows()):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    assert importlib.util.find_spec("flowai"), "install flowai first"  # noqa: S101 - a script's own precondition
    main()
