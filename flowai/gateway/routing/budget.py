"""Budgets of features and models: tokens of a request before it is sent, dollars of a day before they are spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import BudgetError
from flowai.providers.endpoint_price import price_of
from flowai.state.store import MAX_LEASE_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.providers import EmbedRequest, Endpoint, PriceTable, Request
    from flowai.providers.tokens import TokenCounter
    from flowai.registry.records import Budget
    from flowai.state import Reservation, StateStore

DEFAULT_OUTPUT_TOKENS = 4_096
"""Output tokens reserved where no limit is set."""
LEASE_MARGIN_S = 30.0
"""Time for which money stays reserved after a call's last moment: to settle it, and for clocks that differ."""
RESERVED_RETRY_S = 2.0
"""Retry-After of a call that finds all money reserved: many calls end within seconds."""
BYTES_PER_TOKEN = 2
"""Bytes per token for reservations: half of prose's, so that a reservation is rather too large than too small."""


class Budgets:
    """Budgets of all features and models, as one process applies them."""

    def __init__(self, state: StateStore, *, prices: PriceTable, tokens: TokenCounter) -> None:
        self._state = state
        self._prices = prices
        self._tokens = tokens

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
        self, account: str, limit_usd: float | None, request: Request, endpoints: Iterable[Endpoint]
    ) -> Reservation | None:
        """Reserve the cost of the most expensive candidate; None without a limit.

        Raises BudgetError if nothing is left.
        """
        if limit_usd is None:
            return None
        amount_usd = self._max_cost_usd(request, endpoints)
        return await self._reserve(account, limit_usd, amount_usd, lease_s=request.total_timeout_s)

    async def reserve_embeddings(
        self, account: str, limit_usd: float | None, request: EmbedRequest
    ) -> Reservation | None:
        """Reserve the cost of embeddings; see `reserve`."""
        if limit_usd is None:
            return None
        price = price_of(request.endpoint, self._prices)
        byte_count = sum(len(text.encode("utf-8", "replace")) for text in request.texts)
        amount_usd = 0.0 if price is None else price.cost_usd(byte_count / BYTES_PER_TOKEN, 0) or 0.0
        return await self._reserve(account, limit_usd, amount_usd, lease_s=request.total_timeout_s)

    async def _reserve(self, account: str, limit_usd: float, amount_usd: float, *, lease_s: float) -> Reservation:
        """Reserve an amount for a call that takes at most `lease_s` seconds; raises BudgetError above the limit."""
        reserved = await self._state.reserve(
            account, amount_usd, limit_usd=limit_usd, lease_s=min(lease_s + LEASE_MARGIN_S, MAX_LEASE_S)
        )
        if reserved is not None:
            return reserved
        balance = await self._state.balance(account)
        is_spent = balance.spent_usd + amount_usd > limit_usd
        raise BudgetError(
            f"`{account}` may spend ${limit_usd:,.2f} a day: ${balance.spent_usd:,.4f} is spent, "
            f"${balance.reserved_usd:,.4f} is reserved by calls under way, and this call may cost ${amount_usd:,.4f}",
            retry_after_s=balance.day_ends_in_s if is_spent else RESERVED_RETRY_S,
            is_spent=is_spent,
            hint=f"the limit resets at 00:00 UTC; raise {_limit_key(account)}"
            if is_spent
            else f"calls under way return what they do not need: retry in seconds; or raise {_limit_key(account)}",
        )

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


def _limit_key(account: str) -> str:
    model = account.removeprefix("model ")
    return f"`models.{model}.usd_per_day`" if model != account else "`budget.usd_per_day` of the feature"
