"""Simulates rollouts from logged calls: draws users with replacement, each with the whole history, and assigns them.

The candidate serves as well as the release that was logged; `harm` changes that. How users differ and come back is as
it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from flowai.gateway.routing.assignment import BUCKET_COUNT, FULL_PERCENT
from flowai.simulation.calls import CANARY, DOGFOOD, VARIANTS
from flowai.simulation.traffic import percents_at, variants_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from flowai.simulation.calls import SimulatedCalls
    from flowai.simulation.scenario import StageSpan

_DROPPED = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class UserHistories:
    """Calls by user; each call without a user is a user of its own."""

    calls: SimulatedCalls
    """Repeated to the length of the rollout, without calls after its end; ordered by user."""
    starts: NDArray[np.int64]
    """Index of the first call of each user."""
    counts: NDArray[np.int64]
    """Calls of each user."""

    @classmethod
    def build(cls, calls: SimulatedCalls, *, since_us: int, until_us: int, spans: Sequence[StageSpan]) -> Self:
        """Group logged calls by user.

        Args:
            calls: calls of a time range.
            since_us: its start, microseconds since 1970.
            until_us: its end, excluded.
            spans: stages of the rollout; the log is repeated until the last one ends, and cut there.
        """
        begin_us, end_us, length_us = spans[0].since_us, spans[-1].until_us, until_us - since_us
        repetitions = -(-(end_us - begin_us) // length_us)
        rows = np.tile(np.arange(len(calls)), repetitions)
        shift_us = np.repeat(np.arange(repetitions) * length_us, len(calls)) + begin_us - since_us
        repeated = calls.select(rows)
        repeated = replace(
            repeated,
            at_us=repeated.at_us + shift_us,
            feedback_at_us=np.where(repeated.feedback >= 0, repeated.feedback_at_us + shift_us, -1),
            score_at_us=np.where(repeated.score >= 0, repeated.score_at_us + shift_us, -1),
        )
        kept = np.flatnonzero(repeated.at_us < end_us)
        named_count = int(calls.user.max(initial=-1)) + 1
        unit = np.where(repeated.user >= 0, repeated.user, named_count + np.arange(len(repeated)))[kept]
        order = kept[np.argsort(unit, kind="stable")]
        _, starts, counts = np.unique(np.sort(unit), return_index=True, return_counts=True)
        return cls(calls=repeated.select(order), starts=starts, counts=counts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Assignment of calls to variants, as `assign_variant` does it."""

    spans: tuple[StageSpan, ...]
    late_features: tuple[int, ...] = ()
    """Indexes of critical features."""
    late_from: int = 0
    """Percentage from which on critical features take part."""

    def variants(self, calls: SimulatedCalls, buckets: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return the variant of calls whose users have some buckets.

        Calls of critical features that do not take part yet are marked as dogfood, which is not compared.
        """
        percent = percents_at(self.spans, calls.at_us)
        is_late = np.isin(calls.feature, self.late_features) & (percent < self.late_from)
        return np.where(is_late, DOGFOOD, variants_at(buckets, percent)).astype(np.int8)


def expected_arm_calls(histories: UserHistories, assignment: Assignment) -> float:
    """Return the expected calls of the arm that has most, if as many users are drawn as there are."""
    buckets = np.arange(FULL_PERCENT) * (BUCKET_COUNT // FULL_PERCENT)
    arms = np.zeros(len(VARIANTS))
    for bucket in buckets.tolist():
        variants = assignment.variants(histories.calls, np.full(len(histories.calls), bucket))
        arms += np.bincount(variants, minlength=len(VARIANTS))
    arms[DOGFOOD] = 0
    return float(arms.max()) / FULL_PERCENT


def draw_rollout(
    histories: UserHistories, assignment: Assignment, *, seed: Sequence[int], user_count: int, max_arm_calls: int
) -> SimulatedCalls:
    """Draw users with replacement and assign their calls; a drawn user has a new name each time.

    Args:
        histories: the users to draw from.
        assignment: the stages.
        seed: equal seeds have equal results.
        user_count: users to draw, >= 1.
        max_arm_calls: with more calls of an arm, the last drawn users are left out.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(histories.starts), user_count)
    counts = histories.counts[drawn]
    owner = np.repeat(np.arange(user_count), counts)
    begins = np.cumsum(counts) - counts
    rows = np.arange(len(owner)) + np.repeat(histories.starts[drawn] - begins, counts)
    calls = histories.calls.select(rows)
    buckets = rng.integers(0, BUCKET_COUNT, user_count)[owner]
    variant = assignment.variants(calls, buckets)
    while np.bincount(variant[variant != DOGFOOD], minlength=1).max(initial=0) > max_arm_calls:
        user_count = int(user_count * _DROPPED)
        kept = owner < user_count
        calls, owner, variant = calls.select(kept), owner[kept], variant[kept]
    calls = replace(
        calls,
        number=np.arange(len(calls), dtype=np.int64),
        user=np.where(calls.user >= 0, owner, -1).astype(np.int32),
        variant=variant,
        by_candidate=variant == CANARY,
    )
    return calls.select(np.argsort(calls.at_us, kind="stable"))


def sample_users(calls: SimulatedCalls, share: float, *, seed: int) -> SimulatedCalls:
    """Return the calls of a share of the users, 0 to 1; each call without a user counts as one."""
    if share >= 1:
        return calls
    named_count = int(calls.user.max(initial=-1)) + 1
    unit = np.where(calls.user >= 0, calls.user, named_count + np.arange(len(calls)))
    is_kept = np.random.default_rng(seed).random(named_count + len(calls)) < share
    return calls.select(is_kept[unit])
