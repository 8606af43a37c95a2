"""The simulation's vectorised twin gives the same evidence as the library, so that its figures are the library's."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - the twin's arrays
import pytest

from flowai.comparison.blocks import ArmPair, accumulate
from flowai.comparison.counts import TimeBucket
from flowai.comparison.spec import CELL_US
from flowai.statistics import Alternative, Block, EProcess, RateEProcess, RatioEProcess, srm_log_e_value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from flowai.analytics.records import Metric

pytestmark = pytest.mark.slow  # simulates thousands of rollouts

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def simulation() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield import_module("verdict_simulation")


@pytest.mark.parametrize("claim", ["worse", "not_worse"])
@pytest.mark.parametrize("margin", [0.0, 0.01, 0.2])
@pytest.mark.parametrize("kind", [RatioEProcess, RateEProcess])
def test_evidence_is_the_same_on_random_histories(
    simulation: ModuleType, kind: type[EProcess], margin: float, claim: Alternative
) -> None:
    rng, shape = np.random.default_rng(7), (40, 12)
    sizes = np.array([0, 1, 3, 30, 1000, 10**6])
    n1, n0 = rng.choice(sizes, shape), rng.choice(sizes, shape)
    k1, k0 = rng.binomial(n1, rng.random((40, 1)) ** 3), rng.binomial(n0, rng.random((40, 1)) ** 3)
    histories = simulation.Histories(n1=n1, n0=n0, k1=k1, k0=k0)
    found = simulation.log_e(histories, claim, rare=kind is RatioEProcess, margin=margin)
    for run in range(shape[0]):
        evidence = kind(claim, margin=margin)
        for at in range(shape[1]):
            log_e = evidence.add(
                Block(
                    candidate_count=int(n1[run, at]),
                    control_count=int(n0[run, at]),
                    candidate_failure_count=int(k1[run, at]),
                    control_failure_count=int(k0[run, at]),
                )
            )
            assert log_e == pytest.approx(found[run, at], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("metric", ["error_rate", "acceptance"])
@pytest.mark.parametrize(("share", "units"), [(0.01, 20), (0.1, 20), (0.5, 2), (0.1, 300)])
def test_a_report_s_track_goes_as_the_simulated_rollout(
    simulation: ModuleType, metric: Metric, share: float, units: float
) -> None:
    rng, begins = np.random.default_rng(9), (60,)
    rare = metric == "error_rate"
    cells = simulation._play(rng, 3, simulation.Stage(share=share, units=units, cells=200), (0.05, 0.04))
    blocks = simulation.joined(cells, begins)
    worse = simulation.log_e(blocks, "worse", rare=rare)
    safe = simulation.log_e(blocks, "not_worse", rare=rare, margin=0.02)
    for run in range(3):
        counted = [
            TimeBucket(
                stage=int(at >= begins[0]),
                feature="f",
                at_us=at * CELL_US,
                sides={
                    "canary": (int(cells.n1[run, at]), int(cells.k1[run, at])),
                    "control": (int(cells.n0[run, at]), int(cells.k0[run, at])),
                },
            )
            for at in range(200)
            if cells.n1[run, at] + cells.n0[run, at]
        ]
        pair = ArmPair(candidate="canary", control="control")
        track = accumulate(metric, 0.02, counted, pair, until_us=200 * CELL_US)
        peaks = np.maximum(np.maximum.accumulate(worse[run]), 0)
        assert len(track.blocks) == np.count_nonzero(blocks.n1[run]) > 5
        for at in range(200):
            found = (worse[run, at], peaks[at], safe[run, at])
            assert track.at((at + 1) * CELL_US) == pytest.approx(found, rel=1e-9, abs=1e-9)


def test_mismatch_is_the_same_on_random_counts(simulation: ModuleType) -> None:
    rng, shares = np.random.default_rng(8), (0.01, 0.09, 0.9)
    counts = np.cumsum(rng.multinomial(50, (0.02, 0.08, 0.9), (10, 20)), axis=1)
    found = simulation.mismatch_log_e(counts, shares)
    for run, at in np.ndindex(10, 20):
        arms = dict(zip("abc", map(int, counts[run, at]), strict=True))
        expected = srm_log_e_value(arms, dict(zip("abc", shares, strict=True)))
        assert found[run, at] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_tables_have_a_row_for_each_question(simulation: ModuleType) -> None:
    rows = list(simulation.rows(runs=4, seed=3))
    assert all(len(row) == len(simulation.HEADER) for row in rows)
    topics = ("five guardrails", "ramp", "clumps", "20,000 calls", "2 -> 3 %", "p95", "acceptance 62", "mismatch")
    assert not [topic for topic in topics if not any(topic in row[0] for row in rows)]
