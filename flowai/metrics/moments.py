"""Reads moments and times as people type them: `2h` ago, `02:10`, `2026-05-02`, `2026-05-02T10:00:00Z`.

In: text, the time now. Out: a moment, UTC. Must never know what it bounds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from flowai.errors import UsageError

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def parse_moment(text: str, *, now: datetime, option: str) -> datetime:
    """Read a moment.

    Args:
        text: a time ago (`90m`, `2h`, `7d`), a time of the day (its last occurrence, UTC), a day, or RFC 3339; UTC
            where it names no zone.
        now: the time, UTC.
        option: what it was given for, for the message.

    Raises:
        UsageError: it is none of these.
    """
    word = text.strip()
    if _AGO.fullmatch(word):
        return now - timedelta(seconds=parse_span_s(word, option=option))
    if found := _CLOCK.fullmatch(word):
        today = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
        return today if today <= now else today - timedelta(days=1)
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        raise UsageError(
            f"{option}: found `{text}`, expected a time ago (`2h`), a time (`02:10`) or a moment (`2026-05-02T10:00Z`)"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def parse_span_s(text: str, *, option: str) -> float:
    """Read a length of time: `30s`, `5m`, `1h`, `7d`, `2w`; in seconds.

    Raises:
        UsageError: it is none, or far too long.
    """
    found = _AGO.fullmatch(text.strip())
    seconds = float(found[1]) * _UNIT_S[found[2]] if found else 0.0
    if not 0 < seconds <= 3650 * 86400:  # ten years
        raise UsageError(f"{option}: found `{text}`, expected a time such as `90s`, `30m`, `2h`, `7d`")
    return seconds
