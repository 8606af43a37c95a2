"""Money in whole nano-dollars, by UTC day.

Binary fractions would refuse sums that fit exactly (0.1 + 0.1 + 0.1 > 0.3). A nano-dollar is below the price of the
cheapest token.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

from flowai.errors import UsageError
from flowai.state.store import Balance
from flowai.timestamps import EPOCH

MAX_USD = 1_000_000.0
"""Above any real amount; sums of it stay exact in the floats of Redis scripts."""

KEPT_SPENDING_DAYS = 35
"""How long stores keep an account's days: a clock set ahead for a while erases no spending."""

DAY_S = 86_400
_NANO_PER_USD = 1_000_000_000
_EPOCH_ORDINAL = EPOCH.toordinal()


def nano_usd(amount_usd: float) -> int:
    """Return an amount in nano-dollars, rounded to the nearest; raises UsageError outside 0 to `MAX_USD`."""
    if not 0 <= amount_usd <= MAX_USD:
        raise UsageError(f"an amount of {amount_usd} US dollars; expected 0 to {MAX_USD:,.0f}")
    return round(amount_usd * _NANO_PER_USD)


def limit_nano_usd(limit_usd: float) -> int:
    """Return a limit in nano-dollars; a limit above `MAX_USD`, infinity included, counts as `MAX_USD`."""
    return nano_usd(min(limit_usd, MAX_USD))


def usd(amount_nano: int) -> float:
    """Return nano-dollars as dollars."""
    return amount_nano / _NANO_PER_USD


def balance_of(total_nano: int, reserved_nano: int, now_s: float) -> Balance:
    """Return an account's balance: `total_nano` is what is spent and reserved today."""
    return Balance(
        spent_usd=usd(max(0, total_nano - reserved_nano)),
        reserved_usd=usd(reserved_nano),
        day_ends_in_s=DAY_S - now_s % DAY_S,
    )


def utc_day(now_s: float) -> str:
    """Return the UTC day of a time, `YYYY-MM-DD`."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d")


def day_number(day: str) -> int:
    """Return the number of days since the epoch, as `now_s // 86400` does."""
    return date.fromisoformat(day).toordinal() - _EPOCH_ORDINAL


def day_of(number: int) -> str:
    """Return the day of a day number."""
    return date.fromordinal(number + _EPOCH_ORDINAL).isoformat()


def oldest_settled_day(now_s: float) -> str:
    """Return the oldest day that is still settled: yesterday, for calls that began before midnight."""
    return utc_day(now_s - DAY_S)


def oldest_kept_day(now_s: float) -> str:
    """Return the oldest day that stores keep."""
    return utc_day(now_s - KEPT_SPENDING_DAYS * DAY_S)
