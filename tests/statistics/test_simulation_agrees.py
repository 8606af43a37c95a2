"""The simulations' vectorised twin gives the same evidence as the library, so that its figures are the library's."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - the twin's arrays
import pytest

from flowai.comparison.blocks import ArmPair, accumulate
from flowai.comparison.counts import TimeBucket
from flowai.comparison.spec import CELL_US
from flowai.statistics import Block, EProcess, RateEProcess, RatioEProcess, srm_log_e_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

pytestmark = pytest.mark.slow  # simulates thousands of experiments

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PAIR = ArmPair(candidate="canary", control="control")


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Callable[[str], ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield import_module


@pytest.fixture(scope="module")
def twin(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("verdict_twin")


@pytest.mark.parametrize("kind", ["frequent", "rare"])
def test_evidence_is_the_same_on_random_histories(twin: ModuleType, kind: str) -> None:
    rng, shape = np.random.default_rng(7), (40, 12)
    sizes = np.array([0, 1, 3, 30, 1000, 10**6])
    n1, n0 = rng.choice(sizes, shape), rng.choice(sizes, shape)
    k1, k0 = rng.binomial(n1, rng.random((40, 1)) ** 3), rng.binomial(n0, rng.random((40, 1)) ** 3)
    histories = twin.Histories(n1=n1, n0=n0, k1=k1, k0=k0)
    found = (twin.rates_log_e if kind == "frequent" else twin.failures_log_e)(histories)
    for run in range(shape[0]):
        evidence: EProcess = RateEProcess() if kind == "frequent" else RatioEProcess(failures_only=True)
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


@pytest.mark.parametrize(
    ("share", "users"), [(0.01, 20.0), (0.1, 20.0), (0.5, 2.0), (0.1, 300.0), (0.3, 0.1), (0.5, 3000.0)]
)
def test_blocks_close_where_the_library_closes_them(twin: ModuleType, share: float, users: float) -> None:
    rng, runs, cell_count = np.random.default_rng(9), 3, 250
    calls = rng.poisson(users, (runs, cell_count))
    n1 = rng.binomial(calls, share)
    n0 = calls - n1
    cells = twin.Histories(n1=n1, n0=n0, k1=rng.binomial(n1, 0.4), k0=rng.binomial(n0, 0.38))
    blocks = twin.joined(cells)
    worse = twin.rates_log_e(blocks)
    for run in range(runs):
        counted = [
            TimeBucket(
                stage=0,
                at_us=at * CELL_US,
                sides={
                    "canary": (int(cells.n1[run, at]), int(cells.k1[run, at])),
                    "control": (int(cells.n0[run, at]), int(cells.k0[run, at])),
                },
            )
            for at in range(cell_count)
            if calls[run, at]
        ]
        series = accumulate(counted, PAIR, until_us=cell_count * CELL_US)
        peaks = np.maximum(np.maximum.accumulate(worse[run]), 0)
        assert len(series.blocks) == np.count_nonzero(blocks.n1[run]) > 1
        for at in range(cell_count):
            found = (worse[run, at], peaks[at])
            assert series.at((at + 1) * CELL_US) == pytest.approx(found, rel=1e-9, abs=1e-9)


def test_mismatch_is_the_same_on_random_counts(twin: ModuleType) -> None:
    rng, shares = np.random.default_rng(8), (0.01, 0.09, 0.9)
    counts = np.cumsum(rng.multinomial(50, (0.02, 0.08, 0.9), (10, 20)), axis=1)
    found = twin.mismatch_log_e(counts, shares)
    for run, at in np.ndindex(10, 20):
        arms = dict(zip("abc", map(int, counts[run, at]), strict=True))
        expected = srm_log_e_value(arms, dict(zip("abc", shares, strict=True)))
        assert found[run, at] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "topics"),
    [
        ("verdict_mismatch", ("delivers 1.5 %", "shares as given", "a test that knew it")),
        ("experiment_simulation", ("false winner", "drifts", "tied", "guardrail", "save rate 30%")),
    ],
)
def test_the_tables_have_a_row_for_each_question(
    benchmark: Callable[[str], ModuleType], name: str, topics: tuple[str, ...]
) -> None:
    module = benchmark(name)
    rows = list(module.rows(runs=4, seed=3))
    assert all(len(row) == len(module.HEADER) for row in rows)
    assert not [topic for topic in topics if not any(topic in row[0] for row in rows)]
