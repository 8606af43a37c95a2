"""Finds subgroups of calls that failed more often than before and than others: a scan with error control.

A subgroup is selected if its failures are significant twice: against all other calls of the incident (Fisher's exact
test) and against its own past, corrected for the drift that all others share (exact conditional test of two rates).
P-values are multiplied by the number of tested subgroups. Calls of a selected subgroup are removed before the next one
is searched, so that its failures do not count for another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.statistics.binomial_tails import log_binomial_tail, log_hypergeometric_tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

AttributeRange = tuple[int, int, int]
"""Number of an attribute, and a range of its values, both ends included."""

Subgroup = tuple[AttributeRange, ...]
"""Conditions of a subgroup: none for all calls, else one or two."""

SubgroupCounts = dict[Subgroup, list[int]]
"""By subgroup: calls at risk and failures in the incident, then in the baseline."""

ALPHA = 0.05
"""Chance of any finding if there is nothing to find."""
MAX_PICKS = 5
MIN_FAILURES = 5
MIN_LIFT = 1.25
"""Minimum ratio to the expected rate, however significant."""
MIN_BASELINE = 50
"""Minimum of calls before the incident to compare with."""
NEW_SHARE = 0.05
"""A subgroup with less than this part of its expected share of the baseline is new."""
ALMOST_ALL_SHARE = 0.98
SLACK = 6.0
SLACK_SHARE = 0.05
"""A pair is reported only if it explains this much more than one of its halves: natural logarithms, and a share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubgroupFinding:
    """A significant subgroup."""

    key: Subgroup
    counts: tuple[int, ...]
    """As in `SubgroupCounts`, without calls of earlier findings."""
    totals: tuple[int, ...]
    """Counts of all calls."""
    expected_rate: float
    """Expected failure rate, 0 to 1."""
    log_p: float
    """Natural logarithm of the p-value, not corrected."""
    is_new: bool
    """Whether there were too few such calls before."""

    @property
    def excess(self) -> float:
        """Failures above the expectation."""
        return self.counts[1] - self.counts[0] * self.expected_rate


def find_subgroups(
    cells: SubgroupCounts,
    *,
    tested_count: int,
    strata: int,
    timely: int,
    without: Callable[[Subgroup], Mapping[Subgroup, Iterable[int]]],
) -> list[SubgroupFinding]:
    """Return at most `MAX_PICKS` significant subgroups, then a finding about all remaining calls if they got worse.

    `cells` is changed; `without` returns the counts of a selected subgroup's calls, to be subtracted from it. `strata`
    is the attribute whose values differ by nature (features): a new subgroup is compared with the past of its mix of
    them. `timely` is the attribute that only the incident has (its time slices): its past is that of all calls.
    """
    picks: list[SubgroupFinding] = []
    while len(picks) < MAX_PICKS:
        pick = _Scan(cells, tested_count, strata, timely).best()
        if pick is None:
            break
        picks.append(pick)
        for key, counts in without(pick.key).items():
            cells[key] = [have - taken for have, taken in zip(cells[key], counts, strict=True)]
    rest = _everything(cells[()], tested_count)
    return [*picks, rest] if rest else picks


def same_subgroup(cells: SubgroupCounts, key: Subgroup) -> list[Subgroup]:
    """Return other subgroups with equal counts; those with a single condition first."""
    own = cells[key]
    alike = [other for other, counts in cells.items() if other and other != key and counts == own]
    named: list[Subgroup] = []
    for other in sorted(alike, key=_simplicity):
        if not any(set(one) <= set(other) for one in (key, *named)):
            named.append(other)
    return named


def _simplicity(key: Subgroup) -> tuple[int, int, Subgroup]:
    """Order subgroups with equal calls: one condition before two, wide ranges before narrow ones."""
    return len(key), -sum(high - low for _, low, high in key), key


def _everything(counts: list[int], tested_count: int) -> SubgroupFinding | None:
    """Return a finding about all calls if they failed more often than before."""
    at_risk, failures, before, failures_before = counts
    if before < MIN_BASELINE or failures < MIN_FAILURES:
        return None
    rate = failures_before / before
    log_p = log_binomial_tail(failures, failures + failures_before, at_risk / (at_risk + before))
    if failures < MIN_LIFT * rate * at_risk or log_p + math.log(tested_count) > math.log(ALPHA):
        return None
    facts = tuple(counts)
    return SubgroupFinding(key=(), counts=facts, totals=facts, expected_rate=rate, log_p=log_p, is_new=False)


def _divergence(failures: int, count: int, rate: float) -> float:
    """Return the log likelihood ratio of the observed rate to another one."""
    best = 0.0
    if failures:
        best += failures * math.log(failures / (count * rate)) if rate > 0 else math.inf
    if failures < count:
        best += (count - failures) * math.log((count - failures) / (count * (1 - rate))) if rate < 1 else math.inf
    return best


class _Scan:
    """A scan of all subgroups."""

    def __init__(self, cells: SubgroupCounts, tested_count: int, strata: int, timely: int) -> None:
        self._cells = cells
        self._totals = cells[()]
        self._timely = timely
        self._limit = math.log(ALPHA / max(tested_count, 1))
        self._has_baseline = self._totals[2] >= MIN_BASELINE
        # sorted: the order of a query's rows must not change the last digit of a sum
        self._strata = sorted(key for key in cells if len(key) == 1 and key[0][0] == strata and key[0][1] == key[0][2])

    def best(self) -> SubgroupFinding | None:
        """Return the subgroup that explains most; of a pair and its half, the half if it explains nearly as much."""
        ranked = sorted(self._candidates(), key=lambda one: (-round(one[0], 6), _simplicity(one[1])))
        best: tuple[float, SubgroupFinding] | None = None
        for gain, key, expected in ranked:
            if best is not None and gain < best[0] - max(SLACK, SLACK_SHARE * best[0]):
                break
            if best is not None and not (len(key) == 1 and key[0] in best[1].key):
                continue
            pick = self._tested(key, expected)
            if pick is None:
                continue
            if len(key) == 1:
                return pick
            best = best or (gain, pick)
        return best[1] if best else None

    def _candidates(self) -> Iterable[tuple[float, Subgroup, float]]:
        """Yield subgroups with enough failures: log likelihood ratio, key, expected rate."""
        all_count, all_failures = self._totals[:2]
        if all_failures < MIN_FAILURES:
            return
        for key, (at_risk, failures, _, _) in self._cells.items():
            if failures < MIN_FAILURES or not key or at_risk > ALMOST_ALL_SHARE * all_count:
                continue
            if failures * all_count < all_failures * at_risk:
                continue  # not higher than all calls together: most subgroups end here, cheaply
            expected = self._expected(key)
            if failures < MIN_LIFT * expected * at_risk or failures - expected * at_risk < MIN_FAILURES / 2:
                continue
            yield self._gain(key, expected), key, expected

    def _gain(self, key: Subgroup, expected: float) -> float:
        """Return the log likelihood ratio of two rates, inside and outside, to a single one.

        Source: Kulldorff, A spatial scan statistic (1997), the Bernoulli model; inside, the single rate is the expected
        one if that is higher.
        """
        at_risk, failures = self._cells[key][:2]
        outside, failures_outside = self._outside(key)[:2]
        common = self._totals[1] / self._totals[0]
        inside = _divergence(failures, at_risk, max(expected, common))
        return inside + _divergence(failures_outside, outside, common)

    def _expected(self, key: Subgroup) -> float:
        """Return the expected rate of a subgroup: that of all others, or its own before, with the common drift."""
        outside = self._outside(key)
        others = outside[1] / outside[0] if outside[0] else 0.0
        if not self._has_baseline:
            return others
        return min(1.0, max(others, self._before(key) * self._drift(key)))

    def _drift(self, key: Subgroup) -> float:
        """Return the ratio of all others' failure rate to the one before, at least 1."""
        count, failures, before, failures_before = self._outside(key)
        if not count or not before or not failures_before:
            return 1.0
        return max(1.0, (failures / count) / (failures_before / before))

    def _counts(self, key: Subgroup) -> list[int]:
        """Return a subgroup's counts; the past of a time slice is that of all calls with its other conditions."""
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
        """Return the rate before the incident; a new subgroup gets that of its mix of strata, or of its worse half."""
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
