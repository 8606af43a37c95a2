"""Finds the subgroups of calls that went wrong more often than before and than all others: a scan with error control.

A subgroup is picked when its failures are too many for chance on both sides: against all other calls of the incident
(Fisher's exact test) and against itself before it, with the drift that all others share taken off (exact conditional
test of two rates). Chances are multiplied by the number of subgroups looked at. What is picked is taken out before the
next one is sought, so that a subgroup is not named for the failures of another one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.statistics.binomial_tails import log_binomial_tail, log_hypergeometric_tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

AttributeRange = tuple[int, int, int]
"""An attribute by its number, and the range of its values that is meant, both ends included."""

Subgroup = tuple[AttributeRange, ...]
"""What a subgroup is: no part for all calls, one or two."""

SubgroupCounts = dict[Subgroup, list[int]]
"""By subgroup: calls at risk and failures in the incident, the same in the baseline."""

ALPHA = 0.05
"""Chance that anything is named where nothing is special."""
MAX_PICKS = 5
MIN_FAILURES = 5
MIN_LIFT = 1.25
"""How many times the expected rate is worth naming, however sure it is."""
MIN_BASELINE = 50
"""With fewer calls before the incident there is nothing to compare with."""
NEW_SHARE = 0.05
"""A subgroup with less than this part of the baseline that its size calls for is new."""
ALMOST_ALL_SHARE = 0.98
SLACK = 6.0
SLACK_SHARE = 0.05
"""A pair is named only where it explains this much more than one of its halves: natural logarithms, and a share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubgroupFinding:
    """A subgroup that stands out."""

    key: Subgroup
    """The subgroup."""
    counts: tuple[int, ...]
    """As in `SubgroupCounts`, without what was picked before."""
    totals: tuple[int, ...]
    """The same of all calls."""
    expected_rate: float
    """At which it would have failed, 0 to 1."""
    log_p: float
    """Natural logarithm of the chance, not corrected."""
    is_new: bool
    """Whether there were too few such calls before."""

    @property
    def excess(self) -> float:
        """Failures beyond what was expected."""
        return self.counts[1] - self.counts[0] * self.expected_rate


def find_subgroups(
    cells: SubgroupCounts,
    *,
    looked_count: int,
    strata: int,
    timely: int,
    without: Callable[[Subgroup], Mapping[Subgroup, Iterable[int]]],
) -> list[SubgroupFinding]:
    """Pick what stands out, one after the other.

    Args:
        cells: counts by subgroup; `()` are all calls. It is changed.
        looked_count: subgroups looked at, over all questions.
        strata: number of the attribute whose values differ by nature (features): what is new is compared with what its
            mix of them did before.
        timely: number of the attribute that only the incident has (its slices of time): before it stands for all.
        without: gives the counts of a picked subgroup's calls by subgroup, to be taken out.

    Returns:
        At most `MAX_PICKS`, and what the rest did if all of it went worse.
    """
    picks: list[SubgroupFinding] = []
    while len(picks) < MAX_PICKS:
        pick = _Scan(cells, looked_count, strata, timely).best()
        if pick is None:
            break
        picks.append(pick)
        for key, counts in without(pick.key).items():
            cells[key] = [have - taken for have, taken in zip(cells[key], counts, strict=True)]
    rest = _everything(cells[()], looked_count)
    return [*picks, rest] if rest else picks


def same_subgroup(cells: SubgroupCounts, key: Subgroup) -> list[Subgroup]:
    """Give other subgroups that are the same calls, as far as counts tell; those of one part first."""
    own = cells[key]
    alike = [other for other, counts in cells.items() if other and other != key and counts == own]
    named: list[Subgroup] = []
    for other in sorted(alike, key=_simplicity):
        if not any(set(one) <= set(other) for one in (key, *named)):
            named.append(other)
    return named


def _simplicity(key: Subgroup) -> tuple[int, int, Subgroup]:
    """Order subgroups that are the same calls: one part before two, wide ranges before narrow ones."""
    return len(key), -sum(high - low for _, low, high in key), key


def _everything(counts: list[int], looked_count: int) -> SubgroupFinding | None:
    """Give all calls, where they went wrong more often than before."""
    at_risk, failures, before, failures_before = counts
    if before < MIN_BASELINE or failures < MIN_FAILURES:
        return None
    rate = failures_before / before
    log_p = log_binomial_tail(failures, failures + failures_before, at_risk / (at_risk + before))
    if failures < MIN_LIFT * rate * at_risk or log_p + math.log(looked_count) > math.log(ALPHA):
        return None
    facts = tuple(counts)
    return SubgroupFinding(key=(), counts=facts, totals=facts, expected_rate=rate, log_p=log_p, is_new=False)


def _divergence(failures: int, count: int, rate: float) -> float:
    """Give the logarithm of how much better the rate that was seen explains a count than another one."""
    found = 0.0
    if failures:
        found += failures * math.log(failures / (count * rate)) if rate > 0 else math.inf
    if failures < count:
        found += (count - failures) * math.log((count - failures) / (count * (1 - rate))) if rate < 1 else math.inf
    return found


class _Scan:
    """One look at all subgroups.

    Args:
        cells: counts.
        looked_count: subgroups looked at.
        strata: as in `find_subgroups`.
        timely: as in `find_subgroups`.
    """

    def __init__(self, cells: SubgroupCounts, looked_count: int, strata: int, timely: int) -> None:
        self._cells = cells
        self._totals = cells[()]
        self._timely = timely
        self._limit = math.log(ALPHA / max(looked_count, 1))
        self._has_baseline = self._totals[2] >= MIN_BASELINE
        # sorted: the order in which a query gives them must not show in the last digit of a sum
        self._strata = sorted(key for key in cells if len(key) == 1 and key[0][0] == strata and key[0][1] == key[0][2])

    def best(self) -> SubgroupFinding | None:
        """Give the subgroup that explains most; of a pair and its half, the half where it explains nearly as much."""
        ranked = sorted(self._candidates(), key=lambda one: (-round(one[0], 6), _simplicity(one[1])))
        found: tuple[float, SubgroupFinding] | None = None
        for gain, key, expected in ranked:
            if found is not None and gain < found[0] - max(SLACK, SLACK_SHARE * found[0]):
                break
            if found is not None and not (len(key) == 1 and key[0] in found[1].key):
                continue
            pick = self._tested(key, expected)
            if pick is None:
                continue
            if len(key) == 1:
                return pick
            found = found or (gain, pick)
        return found[1] if found else None

    def _candidates(self) -> Iterable[tuple[float, Subgroup, float]]:
        """Give what has failures enough: the logarithm of how much better they are explained, and the expected rate."""
        all_count, all_failures = self._totals[:2]
        if all_failures < MIN_FAILURES:
            return
        for key, (at_risk, failures, _, _) in self._cells.items():
            if failures < MIN_FAILURES or not key or at_risk > ALMOST_ALL_SHARE * all_count:
                continue
            if failures * all_count < all_failures * at_risk:
                continue  # it is no higher than all calls together: most are left here, cheaply
            expected = self._expected(key)
            if failures < MIN_LIFT * expected * at_risk or failures - expected * at_risk < MIN_FAILURES / 2:
                continue
            yield self._gain(key, expected), key, expected

    def _gain(self, key: Subgroup, expected: float) -> float:
        """Give how much better two rates explain what happened than one: natural logarithm of a likelihood ratio.

        Source: Kulldorff, A spatial scan statistic (1997), the Bernoulli model; inside, the one rate is what was
        expected where that is higher.
        """
        at_risk, failures = self._cells[key][:2]
        outside, failures_outside = self._outside(key)[:2]
        common = self._totals[1] / self._totals[0]
        inside = _divergence(failures, at_risk, max(expected, common))
        return inside + _divergence(failures_outside, outside, common)

    def _expected(self, key: Subgroup) -> float:
        """Give the rate that a subgroup would have: that of all others, or its own before, with the common drift."""
        outside = self._outside(key)
        others = outside[1] / outside[0] if outside[0] else 0.0
        if not self._has_baseline:
            return others
        return min(1.0, max(others, self._before(key) * self._drift(key)))

    def _drift(self, key: Subgroup) -> float:
        """Give how many times as often as before all others failed, at least 1."""
        count, failures, before, failures_before = self._outside(key)
        if not count or not before or not failures_before:
            return 1.0
        return max(1.0, (failures / count) / (failures_before / before))

    def _counts(self, key: Subgroup) -> list[int]:
        """Give a subgroup's counts; what a slice of time was before are all calls, as they are otherwise."""
        counts = self._cells[key]
        if all(part[0] != self._timely for part in key):
            return counts
        return [*counts[:2], *self._cells[tuple(part for part in key if part[0] != self._timely)][2:]]

    def _outside(self, key: Subgroup) -> list[int]:
        return [all_of - inside for all_of, inside in zip(self._totals, self._counts(key), strict=True)]

    def _is_new(self, key: Subgroup) -> bool:
        at_risk, _, before, _ = self._counts(key)
        return before * self._totals[0] < NEW_SHARE * at_risk * self._totals[2]

    def _before(self, key: Subgroup) -> float:
        """Give the rate before the incident; what is new takes that of its mix of strata, or of its worse half."""
        _, _, before, failures_before = self._counts(key)
        if not self._is_new(key):
            return failures_before / before
        if len(key) > 1:
            return max(self._before((part,)) for part in key)
        return self._mixed(key[0])

    def _mixed(self, part: AttributeRange) -> float:
        weights = weighted = 0.0
        for stratum in self._strata:
            both: Subgroup = tuple(sorted((part, stratum[0])))
            at_risk = self._cells.get(both, (0,))[0]
            before, failures_before = self._cells[stratum][2:]
            if at_risk and before:
                weights += at_risk
                weighted += at_risk * failures_before / before
        return weighted / weights if weights else self._totals[3] / self._totals[2]

    def _tested(self, key: Subgroup, expected: float) -> SubgroupFinding | None:
        at_risk, failures, before, failures_before = self._counts(key)
        all_count, all_failures = self._totals[:2]
        log_p = log_hypergeometric_tail(failures, at_risk, all_failures, all_count)
        is_new = not self._has_baseline or self._is_new(key)
        if self._has_baseline and log_p <= self._limit:
            log_p = max(log_p, self._log_p_before(key, is_new=is_new))
        if log_p > self._limit:
            return None
        return SubgroupFinding(
            key=key,
            counts=(at_risk, failures, before, failures_before),
            totals=tuple(self._totals),
            expected_rate=expected,
            log_p=log_p,
            is_new=is_new,
        )

    def _log_p_before(self, key: Subgroup, *, is_new: bool) -> float:
        at_risk, failures, before, failures_before = self._counts(key)
        drift = self._drift(key)
        if is_new:
            return log_binomial_tail(failures, at_risk, min(1.0, self._before(key) * drift))
        scaled = at_risk * drift
        return log_binomial_tail(failures, failures + failures_before, scaled / (scaled + before))
