"""Reading all end dates of LiteLLM's price table, as `flowai models`, `smoke` and `watch` do: without LiteLLM.

"Reading" is the table's file to the end date of every model, in a process that has done nothing else; the ratio is to
parsing the same file with Python's `json`. The import of LiteLLM is the time that is not spent.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = ("what", "seen", "target", "met")
ROUNDS = 9
LIMIT_S = 0.2
Row = tuple[str, ...]
_READ = """
import sys, time
from flowai.providers.prices import PriceTable
import socket
def refuse(*_): raise OSError("no network")
socket.socket.connect = refuse
started = time.perf_counter()
count = sum(row.end_date is not None for row in PriceTable().summaries().values())
print(time.perf_counter() - started, count, "litellm" in sys.modules)
"""
_PARSE = """
import json, time
from flowai.providers.prices import _packaged
path = _packaged()
started = time.perf_counter()
json.loads(path.read_bytes())
print(time.perf_counter() - started)
"""


def rows(rounds: int = ROUNDS) -> Iterator[Row]:
    """Yield the table."""
    read, parsed, ratios = [], [], []
    count, has_litellm = "0", "True"
    for _ in range(rounds):
        seconds, count, has_litellm = _run(_READ)
        read.append(float(seconds))
        parsed.append(float(_run(_PARSE)[0]))
        ratios.append(read[-1] / parsed[-1])
    ratio, longest = statistics.median(ratios), max(read)
    yield f"reading {int(count):,} end dates, over `json.loads` of the file", f"{ratio:.2f}x", "", ""
    seen = f"median {1000 * statistics.median(read):.0f} ms, longest {1000 * longest:.0f} ms"
    yield "the same, absolute", seen, f"at most {1000 * LIMIT_S:.0f} ms", "yes" if longest <= LIMIT_S else "no"
    yield "LiteLLM imported", "no" if has_litellm == "False" else "yes", "no", "yes" if has_litellm == "False" else "no"
    yield "connections opened", "0 (each would fail)", "0", "yes"


def _run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    for line in (HEADER, ("---",) * len(HEADER), *rows(parser.parse_args().rounds)):
        print("| " + " | ".join(line) + " |", flush=True)
