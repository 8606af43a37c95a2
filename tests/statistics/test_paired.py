"""Paired tests and intervals: equal to scipy and statsmodels; what must hold for any pairs."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowai.statistics import bounded_mean_interval, holm
from flowai.statistics.betting import MeanEvidence, betting_interval
from flowai.statistics.paired import PairedTrials, broken_case_p, mcnemar_p, trial_exchange_p, worse_p

BITS = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=3).map(tuple)
PAIRS = st.lists(st.builds(PairedTrials, before=BITS, after=BITS), max_size=5)


@pytest.fixture(scope="module", autouse=True)
def oracles() -> None:
    """Import the references before hypothesis starts its clock."""
    import scipy.stats  # noqa: F401
    import statsmodels.stats.api  # noqa: F401


def pairs_of(lost: int, gained: int, same: int) -> list[PairedTrials]:
    """Return pairs of single trials."""
    return [
        *[PairedTrials(before=(1.0,), after=(0.0,))] * lost,
        *[PairedTrials(before=(0.0,), after=(1.0,))] * gained,
        *[PairedTrials(before=(1.0,), after=(1.0,))] * same,
    ]


@given(st.integers(0, 700), st.integers(0, 700))
def test_mcnemar_equals_statsmodels(lost: int, gained: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    expected = mcnemar([[10, lost], [gained, 10]], exact=True).pvalue if lost + gained else 1.0
    assert mcnemar_p(lost, gained) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_single_trials_are_mcnemars_exact_test(lost: int, gained: int, same: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue if lost + gained else 1.0
    assert worse_p(pairs_of(lost, gained, same)) == pytest.approx(expected, abs=1e-9)


@given(PAIRS)
@settings(max_examples=60)
def test_repeats_are_permuted_within_their_case(pairs: list[PairedTrials]) -> None:
    # every assignment of the trials of each case to the sides, one by one
    sums = []
    choices = [list(itertools.combinations(range(len(p.before + p.after)), len(p.after))) for p in pairs]
    for chosen in itertools.product(*choices):
        total = 0.0
        for pair, after in zip(pairs, chosen, strict=True):
            values = pair.before + pair.after
            rest = [value for index, value in enumerate(values) if index not in after]
            total += sum(values[index] for index in after) / len(after) - sum(rest) / len(rest)
        sums.append(total)
    observed = sum(pair.difference for pair in pairs)
    assert trial_exchange_p(pairs) == pytest.approx(sum(one <= observed + 1e-9 for one in sums) / len(sums), abs=1e-9)


@given(PAIRS, st.sampled_from([0.01, 0.05, 0.2, 0.5]))
@settings(max_examples=40)
def test_broken_cases_are_found_by_chance_no_more_often_than_promised(pairs: list[PairedTrials], alpha: float) -> None:
    # every assignment of the trials of each case to the sides, one by one
    choices = [list(itertools.combinations(range(len(p.before + p.after)), len(p.after))) for p in pairs]
    found = []
    for chosen in itertools.product(*choices):
        exchanged = []
        for pair, after in zip(pairs, chosen, strict=True):
            values = pair.before + pair.after
            before = tuple(value for index, value in enumerate(values) if index not in after)
            exchanged.append(PairedTrials(before=before, after=tuple(values[index] for index in after)))
        found.append(broken_case_p(exchanged) <= alpha)
    assert sum(found) / len(found) <= alpha


def test_one_broken_case_stands_out_among_unreliable_ones() -> None:
    broken = PairedTrials(before=(1.0,) * 10, after=(0.0,) * 4)
    unreliable = PairedTrials(before=(1.0, 0.0) * 5, after=(1.0, 0.0) * 2)
    assert broken_case_p([broken]) == pytest.approx(1 / 1001, abs=1e-9)
    assert broken_case_p([broken, *[unreliable] * 5]) < 0.05 < broken_case_p([unreliable] * 6)
    assert broken_case_p([]) == 1.0


@given(PAIRS)
def test_whole_cases_are_exchanged(pairs: list[PairedTrials]) -> None:
    even = [PairedTrials(before=pair.before[:1] * 3, after=(*pair.after[:1] * 2, pair.after[-1])) for pair in pairs]
    differences = [pair.difference for pair in even]
    sums = [
        sum(sign * value for sign, value in zip(signs, differences, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(even))
    ]
    expected = sum(one <= sum(differences) + 1e-9 for one in sums) / len(sums)
    assert worse_p(even) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), max_size=30), st.integers(2, 9))
def test_repeats_that_agree_change_nothing(results: list[tuple[float, float]], repeats: int) -> None:
    once = [PairedTrials(before=(before,), after=(after,)) for before, after in results]
    many = [PairedTrials(before=(before,) * repeats, after=(after,) * repeats) for before, after in results]
    assert worse_p(many) == pytest.approx(worse_p(once), abs=1e-12)


@given(PAIRS, st.randoms(use_true_random=False))
def test_order_of_cases_and_trials_does_not_matter(pairs: list[PairedTrials], rng: random.Random) -> None:
    shuffled = [
        PairedTrials(before=tuple(rng.sample(p.before, len(p.before))), after=tuple(rng.sample(p.after, len(p.after))))
        for p in rng.sample(pairs, len(pairs))
    ]
    assert worse_p(shuffled) == pytest.approx(worse_p(pairs), abs=1e-12)


def test_scores_are_permuted_too() -> None:
    from scipy.stats import permutation_test

    rng = random.Random(3)  # noqa: S311 - a simulation
    pairs = [PairedTrials(before=(rng.random(),), after=(rng.random() * 0.8,)) for _ in range(12)]
    expected = permutation_test(
        ([p.after[0] for p in pairs], [p.before[0] for p in pairs]),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        alternative="less",
        n_resamples=math.inf,
    ).pvalue
    assert worse_p(pairs) == pytest.approx(expected, abs=0.015)


def test_a_case_that_never_changes_says_nothing() -> None:
    one = PairedTrials(before=(1.0,) * 5, after=(0.0,) * 4)
    assert trial_exchange_p([one]) == pytest.approx(1 / 126)
    assert trial_exchange_p([one, *pairs_of(0, 0, 500)]) == pytest.approx(1 / 126)
    assert worse_p([one, *pairs_of(0, 0, 500)]) == pytest.approx(0.5)
    assert worse_p([]) == 1.0


@given(st.integers(0, 400), st.integers(1, 400), st.sampled_from([0.8, 0.9, 0.95, 0.98, 0.99]))
def test_interval_of_zeros_and_ones_equals_statsmodels(passed: int, failed: int, confidence: float) -> None:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(passed, passed + failed, 1 - confidence, method="agresti_coull")
    found = bounded_mean_interval([1.0] * passed + [0.0] * failed, low=0, high=1, confidence=confidence)
    assert found.low == pytest.approx(max(min(low, passed / (passed + failed)), 0), abs=1e-9)
    assert found.high == pytest.approx(min(max(high, passed / (passed + failed)), 1), abs=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.sampled_from([0.9, 0.98]))
def test_interval_of_differences_equals_statsmodels(values: list[float], confidence: float) -> None:
    from scipy.stats import norm
    from statsmodels.stats.weightstats import DescrStatsW

    z = norm.ppf(0.5 + confidence / 2)
    weighted = DescrStatsW([*values, -1.0, 1.0], weights=[1.0] * len(values) + [z * z / 2] * 2, ddof=0)
    reach = z * weighted.std / math.sqrt(weighted.sum_weights)
    found = bounded_mean_interval(values, low=-1, high=1, confidence=confidence)
    mean = math.fsum(values) / len(values)
    assert found.low == pytest.approx(max(min(weighted.mean - reach, mean), -1), abs=1e-9)
    assert found.high == pytest.approx(min(max(weighted.mean + reach, mean), 1), abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]), abs=1e-9)


def test_evidence_about_a_true_mean_rarely_reaches_its_threshold() -> None:
    rng = random.Random(7)  # noqa: S311 - a simulation
    wrong = 0
    for _ in range(400):
        evidence = MeanEvidence(0.9, low=0.0)
        wrong += any(evidence.add(float(rng.random() < 0.9)) >= math.log(20) for _ in range(300))
    assert wrong / 400 <= 0.05


def test_betting_interval_covers_at_any_time_and_shrinks() -> None:
    rng = random.Random(8)  # noqa: S311 - a simulation
    values = [float(rng.random() < 0.7) for _ in range(800)]
    few, many = (betting_interval(values[:n], low=0, high=1, alpha=0.025) for n in (50, 800))
    assert few.low < many.low < 0.7 < many.high < few.high
    assert betting_interval([], low=-1, high=1, alpha=0.05).low == -1
