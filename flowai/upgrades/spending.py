"""Calls and cost of an upgrade so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(kw_only=True, slots=True)
class Spending:
    """Cost of an upgrade so far, of the parts of earlier commands too."""

    max_usd: float | None
    """None for no limit."""
    call_count: int = 0
    kept_count: int = 0
    """Calls of earlier commands, whose answers were kept."""
    cost_usd: float = 0.0
    unpriced_count: int = 0
    """Calls whose cost is not known."""

    @property
    def left_usd(self) -> float | None:
        """Return what is left of the limit; None without one."""
        return None if self.max_usd is None else max(0.0, self.max_usd - self.cost_usd)

    def add(self, costs: Iterable[float | None]) -> None:
        """Add the costs of calls."""
        for cost in costs:
            self.call_count += 1
            self.cost_usd += cost or 0.0
            self.unpriced_count += cost is None

    def join(self, other: Spending) -> None:
        """Add the calls of a part."""
        self.call_count += other.call_count
        self.kept_count += other.kept_count
        self.cost_usd += other.cost_usd
        self.unpriced_count += other.unpriced_count
