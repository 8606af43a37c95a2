"""Moments as whole numbers, so that they sort in an array.

In: RFC 3339. Out: microseconds. Must never know what happened then.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment_us(at: str) -> int:
    """Give a moment as microseconds since 1970, exactly.

    Args:
        at: RFC 3339; without an offset it is UTC.

    Raises:
        ValueError: it is no moment.
    """
    moment = datetime.fromisoformat(at)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
