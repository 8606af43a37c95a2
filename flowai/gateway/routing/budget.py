"""Budgets of features: tokens of a request before it is sent, dollars of a day before they are spent."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from flowai.errors import BudgetError
from flowai.providers.endpoint_price import price_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from flowai.providers import Endpoint, PriceTable, Request
    from flowai.providers.tokens import TokenCounter
    from flowai.registry.records import Budget
    from flowai.state import Reservation, StateStore

DEFAULT_OUTPUT_TOKENS = 4_096
"""Output tokens reserved where no limit is set."""
BYTES_PER_TOKEN = 2
"""Bytes per token for reservations: half of prose's, so that a reservation is rather too large than too small."""


class Budgets:
    """Budgets of all features, as one process applies them."""

    def __init__(
        self, state: StateStore, *, prices: PriceTable, tokens: TokenCounter, now: Callable[[], datetime]
    ) -> None:
        self._state = state
        self._prices = prices
        self._tokens = tokens
        self._now = now

    def check_tokens(self, feature: str, budget: Budget, request: Request) -> None:
        """Raise BudgetError if a request has more tokens than the feature allows."""
        limit = budget.prompt_tokens
        if limit is None:
            return
        tokens = self._tokens.exceeds(request.messages, limit)
        if tokens is not None:
            raise BudgetError(
                f"`{feature}` allows requests of {limit:,} tokens; this one has about {tokens:,}",
                hint="shorten the input, or raise `budget.prompt_tokens` of the feature",
            )

    async def reserve(
        self, feature: str, budget: Budget, request: Request, endpoints: Iterable[Endpoint]
    ) -> Reservation | None:
        """Reserve the cost of the most expensive candidate; None without a limit.

        Raises BudgetError if nothing is left.
        """
        limit_usd = budget.usd_per_day
        if limit_usd is None:
            return None
        amount_usd = self._max_cost_usd(request, endpoints)
        reserved = await self._state.reserve(feature, amount_usd, limit_usd=limit_usd)
        if reserved is None:
            spent_usd = await self._state.spent_usd(feature)
            raise BudgetError(
                f"`{feature}` may spend ${limit_usd:,.2f} a day: ${spent_usd:,.4f} is spent or reserved, "
                f"and this call may cost ${amount_usd:,.4f}",
                retry_after_s=_until_midnight_s(self._now()),
                hint="the limit resets at 00:00 UTC; raise `budget.usd_per_day` of the feature",
            )
        return reserved

    async def settle(self, reserved: Reservation | None, actual_usd: float | None) -> None:
        """Replace a reservation by the real cost; if the cost is unknown, the whole reservation counts as spent."""
        if reserved is not None:
            await self._state.settle(
                reserved, actual_usd=reserved.amount_usd if actual_usd is None else max(0.0, actual_usd)
            )

    def _max_cost_usd(self, request: Request, endpoints: Iterable[Endpoint]) -> float:
        """Return the upper limit of a call's cost; the registry is refused if a price is unknown."""
        input_tokens = self._tokens.upper_bound(request.messages) / BYTES_PER_TOKEN
        output_tokens = max_tokens(request.params) or DEFAULT_OUTPUT_TOKENS
        prices = (price_of(endpoint, self._prices) for endpoint in endpoints)
        return max(
            (price.cost_usd(input_tokens, output_tokens) or 0.0 for price in prices if price is not None), default=0.0
        )


def max_tokens(params: object) -> int | None:
    """Return the token limit that parameters set, by either of its names."""
    if not isinstance(params, dict):
        return None
    for name in ("max_completion_tokens", "max_tokens"):
        value = params.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _until_midnight_s(now: datetime) -> float:
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1) - now).total_seconds()
