"""The scan over counts: what is named, what is not, and that nothing is named without reason."""

from __future__ import annotations

import random
from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from flowai.postmortem.analysis.subgroup_scan import find_subgroups, same_subgroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flowai.postmortem.analysis.subgroup_scan import Subgroup, SubgroupCounts, SubgroupFinding

Values = tuple[int, ...]
FEATURE, TENANT, MODEL, TIME = range(4)
SIZES = (3, 8, 4, 5)


def cells_of(calls: Iterable[tuple[Values, bool, bool]]) -> SubgroupCounts:
    """Count calls: their values, whether they are of the incident, whether they failed."""
    cells: SubgroupCounts = {}
    for values, is_incident, has_failed in calls:
        parts = [(attribute, value, value) for attribute, value in enumerate(values) if value]
        for size in range(3):
            for key in combinations(parts, size):
                counts = cells.setdefault(key, [0, 0, 0, 0])
                counts[0 if is_incident else 2] += 1
                counts[1 if is_incident else 3] += has_failed
    return cells


def calls_of(
    rate: Callable[[Values, bool], float], *, count: int = 20_000, seed: int = 1
) -> list[tuple[Values, bool, bool]]:
    rng = random.Random(seed)  # noqa: S311 - a simulation
    found = []
    for number in range(count):
        is_incident = number % 3 == 0
        values = tuple(rng.randint(1, size) for size in SIZES)
        values = values if is_incident else (*values[:TIME], 0)
        found.append((values, is_incident, rng.random() < rate(values, is_incident)))
    return found


def picks_of(calls: Sequence[tuple[Values, bool, bool]]) -> list[SubgroupFinding]:
    cells = cells_of(calls)

    def without(key: Subgroup) -> SubgroupCounts:
        return cells_of(one for one in calls if all(one[0][part[0]] == part[1] for part in key))

    return find_subgroups(cells, tested_count=len(cells), strata=FEATURE, timely=TIME, without=without)


def keys_of(rate: Callable[[Values, bool], float]) -> list[Subgroup]:
    return [pick.key for pick in picks_of(calls_of(rate))]


def test_only_the_broken_subgroup_is_named() -> None:
    assert keys_of(lambda v, now: 0.3 if now and v[TENANT] == 3 else 0.01) == [((TENANT, 3, 3),)]


def test_a_pair_is_named_where_neither_half_broke() -> None:
    broken = ((FEATURE, 2, 2), (MODEL, 1, 1))
    assert keys_of(lambda v, now: 0.3 if now and v[FEATURE] == 2 and v[MODEL] == 1 else 0.01) == [broken]


def test_several_faults_are_separated() -> None:
    found = keys_of(lambda v, now: 0.01 + now * ((v[TENANT] == 3) * 0.2 + (v[MODEL] == 2) * 0.1))
    assert set(found) == {((TENANT, 3, 3),), ((MODEL, 2, 2),)}


def test_a_time_slice_is_compared_with_the_whole_baseline() -> None:
    assert keys_of(lambda v, now: 0.2 if now and v[TIME] == 4 else 0.01) == [((TIME, 4, 4),)]
    broken = ((TENANT, 5, 5), (TIME, 2, 2))
    assert keys_of(lambda v, now: 0.7 if now and v[TENANT] == 5 and v[TIME] == 2 else 0.01) == [broken]


def test_an_always_failing_subgroup_is_no_finding() -> None:
    assert keys_of(lambda v, _: 0.3 if v[TENANT] == 3 else 0.01) == []


def test_a_drift_that_all_share_is_named_once_as_all_calls() -> None:
    picks = picks_of(calls_of(lambda v, now: (0.06 if v[FEATURE] == 1 else 0.02) * (2 if now else 1)))
    assert [pick.key for pick in picks] == [()]
    assert picks[0].excess == pytest.approx(picks[0].counts[1] / 2, rel=0.2)


def test_a_new_value_is_compared_with_the_baseline_of_its_mix() -> None:
    """Model 4 is new and serves feature 1 only, which always failed often: that is no finding."""

    def moved(calls: list[tuple[Values, bool, bool]]) -> list[tuple[Values, bool, bool]]:
        is_new = {True: 1, False: 0}
        return [
            ((v[FEATURE], v[TENANT], 4 if now and v[FEATURE] == 1 else 1 + is_new[v[MODEL] > 2], v[TIME]), now, failed)
            for v, now, failed in calls
        ]

    natural = moved(calls_of(lambda v, _: 0.2 if v[FEATURE] == 1 else 0.01))
    assert picks_of(natural) == []
    broken = moved(calls_of(lambda v, now: 0.01 if v[FEATURE] != 1 else 0.4 if now else 0.2))
    assert [pick.key[0] for pick in picks_of(broken)] in ([(MODEL, 4, 4)], [(FEATURE, 1, 1)])


def test_without_a_baseline_a_subgroup_is_compared_with_the_others() -> None:
    calls = [one for one in calls_of(lambda v, _: 0.3 if v[TENANT] == 3 else 0.01) if one[1]]
    (pick,) = picks_of(calls)
    assert pick.key == ((TENANT, 3, 3),)
    assert pick.is_new is True


@pytest.mark.slow  # searches forty logs
def test_chance_is_no_finding() -> None:
    """Forty logs in which nothing broke: at 5 % each, more than six with a finding would be a wonder."""
    found = [picks_of(calls_of(lambda v, _: 0.01 * v[FEATURE], count=3000, seed=seed)) for seed in range(40)]
    assert sum(bool(picks) for picks in found) <= 6


def test_few_or_no_failures_are_no_finding() -> None:
    assert keys_of(lambda _v, _now: 0.0) == []
    assert picks_of([((1, 1, 1, 1), True, True)] * 4 + [((2, 1, 1, 1), True, False)] * 100) == []


def test_everything_failing_is_named_as_all_calls() -> None:
    assert keys_of(lambda _v, now: 1.0 if now else 0.01) == [()]


def test_equal_subgroups_are_listed_once() -> None:
    cells: SubgroupCounts = {
        (): [10, 5, 10, 1],
        ((0, 1, 1),): [4, 3, 4, 0],
        ((1, 2, 2),): [4, 3, 4, 0],
        ((0, 1, 1), (2, 1, 1)): [4, 3, 4, 0],
        ((2, 5, 5), (3, 1, 1)): [4, 3, 4, 0],
        ((3, 1, 1),): [4, 2, 4, 0],
    }
    assert same_subgroup(cells, ((0, 1, 1),)) == [((1, 2, 2),), ((2, 5, 5), (3, 1, 1))]
