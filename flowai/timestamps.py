"""Times and durations as text: RFC 3339, microseconds since 1970, `30s`, and moments such as `2h` ago or `02:10`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from flowai.errors import UsageError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MICROSECOND = timedelta(microseconds=1)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|[smhdw])")
_DAY_S = 86400
_UNIT_S: dict[str, Decimal | int] = {"ms": Decimal("0.001"), "s": 1, "m": 60, "h": 3600, "d": _DAY_S, "w": 7 * _DAY_S}
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_MAX_DURATION_S = 3650 * _DAY_S  # ten years


def to_us(moment: datetime) -> int:
    """Return a moment in microseconds since 1970 (UTC), exactly."""
    return (moment - EPOCH) // _MICROSECOND


def from_us(moment_us: int) -> datetime:
    """Return the UTC moment of a number of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=moment_us)


def format_rfc3339(moment: datetime, *, whole_seconds: bool = False) -> str:
    """Format a moment as `2026-05-02T10:00:00Z`; UTC, with microseconds unless they are 0 or `whole_seconds` is set.

    A moment without a zone is UTC.
    """
    text = _in_utc(moment).isoformat(timespec="seconds" if whole_seconds else "auto")
    return text.replace("+00:00", "Z")


def format_us(moment_us: int) -> str:
    """Format microseconds since 1970 as reports do: RFC 3339, UTC, whole seconds."""
    return format_rfc3339(from_us(moment_us), whole_seconds=True)


def parse_rfc3339(text: str) -> datetime:
    """Parse a moment (ISO 8601, which includes RFC 3339) into UTC; without a zone it is UTC.

    Raises:
        ValueError: the text is not a moment.
    """
    return _in_utc(datetime.fromisoformat(text))


def parse_moment(text: str, *, now: datetime, option: str) -> datetime:
    """Parse a moment as people type it.

    Args:
        text: a time ago (`90m`, `2h`, `7d`), a time of day (its last occurrence), a day, or RFC 3339; UTC unless it
            names a zone.
        now: the current time, UTC.
        option: name of the option, for the error.

    Raises:
        UsageError: it is none of these.
    """
    text = text.strip()
    if _DURATION.fullmatch(text):
        return now - timedelta(seconds=parse_option_s(text, option=option))
    if clock := _CLOCK.fullmatch(text):
        today = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        return today if today <= now else today - timedelta(days=1)
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise UsageError(
            f"{option}: found `{text}`, expected a time ago (`2h`), a time (`02:10`) or a moment (`2026-05-02T10:00Z`)"
        ) from None


def parse_option_s(text: str, *, option: str) -> float:
    """Parse the duration of an option into seconds: more than 0, at most ten years.

    Raises:
        UsageError: it is not a duration, or out of this range.
    """
    try:
        seconds = parse_duration_s(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _MAX_DURATION_S:
        raise UsageError(f"{option}: found `{text}`, expected a time such as `90s`, `30m`, `2h`, `7d`")
    return seconds


def parse_duration_s(text: str) -> float:
    """Parse a duration (`800ms`, `30s`, `5m`, `1.5h`, `7d`, `2w`) into seconds, >= 0.

    Raises:
        ValueError: the text is not a duration.
    """
    return float(_seconds(text))


def parse_duration_ms(text: str) -> float:
    """Parse a duration into milliseconds; see `parse_duration_s`."""
    return float(_seconds(text) * 1000)


def _seconds(text: str) -> Decimal:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"`{text}` is not a duration")
    return Decimal(match[1]) * _UNIT_S[match[2]]


def _in_utc(moment: datetime) -> datetime:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
