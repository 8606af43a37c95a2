"""How soon users who do not divide by the shares of a stage are noticed, and how often in vain.

A vectorised twin of the library plays thousands of assignments; a test shows that the two agree. In brackets: 95 %
intervals.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - thousands of assignments at once
from verdict_twin import mismatch_log_e

from flowai.statistics import MISMATCH_ALPHA, clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray  # noqa: TID251 - as above

    Numbers = NDArray[np.float64]

HEADER = ("what", "seen", "target", "met")
RUNS = 2_000
MOST_ASSIGNMENTS = 10_000
Row = tuple[str, ...]


def mismatch(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play assignments: a look after every 10 of them."""
    for arms, shares in (
        ("canary, control, stable", (0.01, 0.01, 0.98)),
        ("canary and the rest", (0.01, 0.99)),
    ):
        ends = _mismatch_ends(rng, runs, shares, (0.015, *shares[1:-1], shares[-1] - 0.005))
        seen, within = np.quantile(ends, 0.5, method="inverted_cdf"), _percent(np.isfinite(ends).mean())
        found = f"{seen:,.0f} assignments; {within} within 10,000"
        yield f"mismatch: 1 % that delivers 1.5 % ({arms})", found, "10,000", _yes(seen <= MOST_ASSIGNMENTS)
        # one in a thousand shows only in many more runs, and even then with some noise around it
        alarms = int(np.isfinite(_mismatch_ends(rng, 10 * runs, shares, shares)).sum())
        met = _yes(clopper_pearson(alarms, 10 * runs).low <= MISMATCH_ALPHA)
        yield f"mismatch: shares as given ({10 * runs:,} runs)", _share(alarms, 10 * runs), "0.10 %", met
    known = 1.5 / 1.0 * 0.99 / 0.985
    counts = np.cumsum(rng.binomial(10, 0.015, (runs, MOST_ASSIGNMENTS // 10)), axis=1)
    totals = 10 * np.arange(1, counts.shape[1] + 1)
    acted = counts * math.log(known) - totals * math.log1p(0.01 * (known - 1)) >= math.log(1 / MISMATCH_ALPHA)
    within = _percent(acted.any(-1).mean())
    yield "for contrast: 1.5 % found by a test that knew it", f"{within} within 10,000", "", ""


def _mismatch_ends(
    rng: np.random.Generator, runs: int, shares: tuple[float, ...], delivered: tuple[float, ...]
) -> Numbers:
    """Return each run's assignments until a mismatch is called; inf for not within `MOST_ASSIGNMENTS`."""
    found = []
    for _ in range(math.ceil(runs / 100)):
        counts = np.cumsum(rng.multinomial(10, delivered, (100, MOST_ASSIGNMENTS // 10)), axis=1)
        acted = mismatch_log_e(counts, shares) >= math.log(1 / MISMATCH_ALPHA)
        found.append(np.where(acted.any(-1), 10.0 * (acted.argmax(-1) + 1), np.inf))
    return np.concatenate(found)[:runs]


def rows(runs: int = RUNS, seed: int = 1) -> Iterator[Row]:
    """Play everything; each row as `HEADER` says."""
    yield from mismatch(np.random.default_rng(seed), runs)


def _share(found: int, runs: int) -> str:
    interval = clopper_pearson(found, runs)
    return f"{_percent(found / runs)} ({100 * interval.low:.2f} to {100 * interval.high:.2f})"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _yes(met: bool | np.bool) -> str:  # noqa: FBT001 - a cell of the table
    return "yes" if met else "**no**"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="series of assignments of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.stdout.write("| " + " | ".join(HEADER) + " |\n| " + " | ".join("---" for _ in HEADER) + " |\n")
    for row in rows(options.runs, options.seed):
        sys.stdout.write("| " + " | ".join(row) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
