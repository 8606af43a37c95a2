"""Keeps a feature within its budget: tokens of one call before it is sent, dollars of a day before they are spent."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from flowai.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from flowai.providers import Endpoint, PriceTable, Request
    from flowai.providers.tokens import TokenCounter
    from flowai.registry.records import Budget
    from flowai.state import Reservation, StateStore

LIKELY_OUTPUT_TOKENS = 4_096
"""Output tokens set aside where nothing limits an answer."""
BYTES_PER_TOKEN = 2
"""Bytes per token when money is set aside: half of what prose has, so that rather too much than too little is."""


class Budgets:
    """The budgets of all features, as one process keeps them.

    Args:
        state: what processes share.
        prices: what models cost.
        tokens: counts them.
        now: the time, UTC.
    """

    def __init__(
        self, state: StateStore, *, prices: PriceTable, tokens: TokenCounter, now: Callable[[], datetime]
    ) -> None:
        self._state = state
        self._prices = prices
        self._tokens = tokens
        self._now = now

    def check_tokens(self, feature: str, budget: Budget, request: Request) -> None:
        """Refuse a request that is longer than the feature allows.

        Raises:
            BudgetError: it has more tokens.
        """
        limit = budget.prompt_tokens
        if limit is None:
            return
        found = self._tokens.exceeds(request.messages, limit)
        if found is not None:
            raise BudgetError(
                f"`{feature}` allows requests of {limit:,} tokens; this one has about {found:,}",
                hint="shorten the input, or raise `budget.prompt_tokens` of the feature",
            )

    async def reserve(
        self, feature: str, budget: Budget, request: Request, endpoints: Iterable[Endpoint]
    ) -> Reservation | None:
        """Set aside what the dearest model of the ladder may cost; None where the feature has no limit.

        Raises:
            BudgetError: the day's dollars are spent or set aside.
        """
        limit_usd = budget.usd_per_day
        if limit_usd is None:
            return None
        amount_usd = self._most_usd(request, endpoints)
        reserved = await self._state.reserve(feature, amount_usd, limit_usd=limit_usd)
        if reserved is None:
            spent_usd = await self._state.spent_usd(feature)
            raise BudgetError(
                f"`{feature}` may spend ${limit_usd:,.2f} a day: ${spent_usd:,.4f} is spent or set aside, "
                f"and this call may cost ${amount_usd:,.4f}",
                retry_after_s=_until_midnight_s(self._now()),
                hint="the limit begins anew at 00:00 UTC; `budget.usd_per_day` raises it",
            )
        return reserved

    async def settle(self, reserved: Reservation | None, actual_usd: float | None) -> None:
        """Replace what was set aside by what was paid; where that is not known, what was set aside counts as paid."""
        if reserved is not None:
            await self._state.settle(
                reserved, actual_usd=reserved.amount_usd if actual_usd is None else max(0.0, actual_usd)
            )

    def _most_usd(self, request: Request, endpoints: Iterable[Endpoint]) -> float:
        """Give the most that a call may cost; models without a known price count as free."""
        given = self._tokens.upper_bound(request.messages) / BYTES_PER_TOKEN
        made = max_tokens(request.params) or LIKELY_OUTPUT_TOKENS
        prices = (self._prices.price(endpoint.model) for endpoint in endpoints if endpoint.file is None)
        return max((price.cost_usd(given, made) or 0.0 for price in prices if price is not None), default=0.0)


def max_tokens(params: object) -> int | None:
    """Give the limit of an answer that parameters set, by either of its names; None when they set none."""
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
