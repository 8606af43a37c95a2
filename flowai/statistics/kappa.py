"""Agreement of two raters on the same items: observed, and corrected for chance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, kw_only=True, slots=True)
class CohenKappa:
    """Agreement of two raters."""

    rated_by_both_count: int
    agreed_count: int
    """Items to which both gave the same label."""
    kappa: float | None
    """Cohen's kappa, at most 1; 0 is agreement by chance, 1 is full agreement. None if no item was rated by both, or
    both gave the same label to all: then chance explains everything."""


def cohen_kappa(labels: Iterable[tuple[str, str]]) -> CohenKappa:
    """Compute the agreement of two raters from both labels of each item.

    Kappa is (p_o - p_e) / (1 - p_e): p_o is the share of equal labels, p_e the share expected from raters who assign
    labels at random with the observed frequencies.

    Source: Cohen (1960), A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20.
    """
    pairs = Counter(labels)
    rated_count = sum(pairs.values())
    agreed_count = sum(count for (first, second), count in pairs.items() if first == second)
    first_counts: Counter[str] = Counter()
    second_counts: Counter[str] = Counter()
    for (first, second), count in pairs.items():
        first_counts[first] += count
        second_counts[second] += count
    # in integers, so that "all by chance" is exact
    by_chance = sum(count * second_counts[label] for label, count in first_counts.items())
    left = rated_count * rated_count - by_chance
    kappa = (agreed_count * rated_count - by_chance) / left if left else None
    return CohenKappa(rated_by_both_count=rated_count, agreed_count=agreed_count, kappa=kappa)
