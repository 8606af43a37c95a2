"""How far two people agree who sorted the same things: the share they agree on, and what of it is more than chance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, kw_only=True, slots=True)
class CohenKappa:
    """How far two people agree."""

    rated_by_both_count: int
    """Things that both sorted, >= 0."""
    agreed_count: int
    """Those of which both said the same."""
    kappa: float | None
    """Cohen's kappa, at most 1; 0 is what chance gives, 1 is agreement on everything. None where nothing was sorted by
    both, or both said one and the same of everything: then chance explains it all."""


def cohen_kappa(words: Iterable[tuple[str, str]]) -> CohenKappa:
    """Work out how far two people agree.

    Kappa is (p_o - p_e) / (1 - p_e): p_o is the share of which both said the same, p_e the share that two people would
    agree on who say each word as often as these did, blindly.

    Args:
        words: of each thing what the one and what the other said.

    Source: Cohen (1960), A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20.
    """
    pairs = Counter(words)
    both_count = sum(pairs.values())
    same_count = sum(count for (one, other), count in pairs.items() if one == other)
    ones: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for (one, other), count in pairs.items():
        ones[one] += count
        others[other] += count
    # in whole numbers, so that "all by chance" is found exactly
    by_chance = sum(count * others[word] for word, count in ones.items())
    left = both_count * both_count - by_chance
    kappa = (same_count * both_count - by_chance) / left if left else None
    return CohenKappa(rated_by_both_count=both_count, agreed_count=same_count, kappa=kappa)
