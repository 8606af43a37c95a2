"""Cost of an outage: 10,000 calls through a gateway whose primary is dead, in each of five ways.

20 callers at a time, a healthy fallback of another provider, the breaker as it comes (more than 5 failures open it).
How many calls failed, how many still asked the dead provider, how long the slowest took; and, once the breaker is open,
what a call costs beside one that asks the fallback itself: medians of interleaved pairs, one caller at a time.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway_project import VARIABLES, gateway, provider, refused_address, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = ("what", "flowai", "peer", "ratio", "how")
CALLS_COUNT = 10_000
CALLERS_COUNT = 20
PAIRS_COUNT = 400
FIRST_TOKEN_S = 1.0
DEATHS: dict[str, tuple[str, ...] | None] = {
    "500": ("--status", "500"),
    "429": ("--status", "429"),
    "refused": None,
    "reset": ("--fault", "reset_before_headers"),
    "silent": ("--fault", "silent"),
}


def rows(calls_count: int = CALLS_COUNT) -> list[tuple[str, str, str, str, str]]:
    """Run each kind of outage and return the rows of the table."""
    table = []
    with provider() as fallback, tempfile.TemporaryDirectory() as place:
        for death in DEATHS:
            with _dead(death) as primary:
                root = Path(place) / death
                root.mkdir()
                write_project(root, primary=primary, fallback=fallback)
                table += asyncio.run(_drill(death, root, calls_count))
    return table


@contextmanager
def _dead(death: str) -> Iterator[str]:
    options = DEATHS[death]
    with refused_address() if options is None else provider(*options) as address:
        yield address


async def _drill(death: str, root: Path, calls_count: int) -> list[tuple[str, str, str, str, str]]:
    asked = {"primary": 0, "fallback": 0}

    def note(event: Any) -> None:  # noqa: ANN401 - imported late, as the gateway
        for attempt in event.attempts:
            asked[attempt.model] += attempt.status != "skipped"

    async with gateway(root, trace=note) as gw:
        await gw.warm_up()
        failed_count, slowest_s = await _load(gw, calls_count)
        still_asked = asked["primary"]
        pairs = [(await _one(gw, "chat"), await _one(gw, "direct")) for _ in range(PAIRS_COUNT)]
    how = f"{calls_count:,} calls, {CALLERS_COUNT} at a time; {still_asked} of them asked the dead provider"
    limit = f"; limit {FIRST_TOKEN_S + 1:g} s" if death == "silent" else ""
    return [
        (f"primary dead ({death}): failed calls", f"{failed_count}", "", "", how),
        (f"primary dead ({death}): slowest call", f"{slowest_s:.2f} s", "", "", f"before the breaker opens{limit}"),
        *(_row(death, name, [(ours[at], peer[at]) for ours, peer in pairs]) for at, name in enumerate(("CPU", "wall"))),
    ]


async def _load(gw: Any, calls_count: int) -> tuple[int, float]:  # noqa: ANN401 - as above
    """Run the calls and return the number that failed and the longest latency."""
    from flowai.errors import FlowaiError

    left = iter(range(calls_count))
    failed_count, slowest_s = 0, 0.0

    async def caller() -> None:
        nonlocal failed_count, slowest_s
        for _ in left:
            began_s = time.perf_counter()
            try:
                await gw.complete("chat", VARIABLES)
            except FlowaiError:
                failed_count += 1
            slowest_s = max(slowest_s, time.perf_counter() - began_s)

    await asyncio.gather(*(caller() for _ in range(CALLERS_COUNT)))
    return failed_count, slowest_s


async def _one(gw: Any, feature: str) -> tuple[float, float]:  # noqa: ANN401 - as above
    """Run one call and return its CPU and wall time, ms."""
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    await gw.complete(feature, VARIABLES)
    return (time.process_time() - cpu_s) * 1000, (time.perf_counter() - wall_s) * 1000


def _row(death: str, name: str, pairs: list[tuple[float, float]]) -> tuple[str, str, str, str, str]:
    ours, peer = (statistics.median(pair[at] for pair in pairs) for at in (0, 1))
    ratio = statistics.median(pair[0] / pair[1] for pair in pairs)
    what = f"primary dead ({death}), breaker open: one call, {name}"
    return what, f"{ours:.2f} ms", f"fallback asked itself {peer:.2f} ms", f"{ratio:.2f}x", f"{len(pairs)} pairs"


if __name__ == "__main__":
    for line in (HEADER, ("---",) * len(HEADER), *rows(*map(int, sys.argv[1:]))):
        print("| " + " | ".join(line) + " |")
