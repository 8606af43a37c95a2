"""Money as the stores count it: whole nano-dollars, by UTC day.

Sums of binary fractions refuse what fits exactly (0.1 + 0.1 + 0.1 > 0.3); whole nano-dollars do not, and one is still
less than the cheapest token costs.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.timestamps import EPOCH

if TYPE_CHECKING:
    from flowai.state.store import Reservation

MAX_USD = 1_000_000.0
"""Above any real amount, and sums of it stay exact in the floats that Redis' scripts count with."""

_NANO_PER_USD = 1_000_000_000
_EPOCH_ORDINAL = EPOCH.toordinal()
_DAY_S = 86_400


def nano_usd(amount_usd: float) -> int:
    """Give an amount in nano-dollars, rounded to the nearest.

    Raises:
        UsageError: not a number from 0 to `MAX_USD`.
    """
    if not 0 <= amount_usd <= MAX_USD:
        raise UsageError(f"an amount of {amount_usd} US dollars; expected 0 to {MAX_USD:,.0f}")
    return round(amount_usd * _NANO_PER_USD)


def limit_nano_usd(limit_usd: float) -> int:
    """Give a limit in nano-dollars; one above `MAX_USD`, infinity included, is taken for `MAX_USD`."""
    return nano_usd(min(limit_usd, MAX_USD))


def usd(amount_nano: int) -> float:
    """Give nano-dollars in dollars."""
    return amount_nano / _NANO_PER_USD


def settlement_delta(reservation: Reservation, *, actual_usd: float, held_by: str) -> int:
    """Say what settling adds to an account: what was paid, less what this store had set aside for it."""
    held_nano = nano_usd(reservation.amount_usd) if reservation.held_by == held_by else 0
    return nano_usd(actual_usd) - held_nano


def utc_day(now_s: float) -> str:
    """Give the UTC day of a time, `YYYY-MM-DD`."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d")


def day_number(day: str) -> int:
    """Count a day from the epoch's, as `now_s // 86400` does."""
    return date.fromisoformat(day).toordinal() - _EPOCH_ORDINAL


def day_of(number: int) -> str:
    """Give the day of a number."""
    return date.fromordinal(number + _EPOCH_ORDINAL).isoformat()


def oldest_kept_day(now_s: float) -> str:
    """Give the oldest day that stores keep: the one before today's, for calls that began before midnight."""
    return utc_day(now_s - _DAY_S)
