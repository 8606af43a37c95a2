"""Formats numbers for people: sensible digits, units, and `-` for a missing number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MISSING_TEXT = "-"


def duration(time_ms: float | None) -> str:
    """Format milliseconds as `0.44 s`, `8.4 s`, `2 min 05 s`, `1 h 04 min`; `-` for None."""
    if time_ms is None:
        return MISSING_TEXT
    seconds = time_ms / 1000
    if seconds < 9.995:  # noqa: PLR2004 - the largest that rounds to two decimals below ten
        return f"{seconds:.2f} s"
    if seconds < 59.95:  # noqa: PLR2004 - as above, below a minute
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds_left = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds_left:02d} s"


def dollars(cost_usd: float | None) -> str:
    """Format US dollars as `$0`, `$0.011`, `$1.24`, `$1,204`: three figures, never scientific; `-` for None."""
    if cost_usd is None:
        return MISSING_TEXT
    if cost_usd == 0:
        return "$0"
    if cost_usd < 0.0001:  # noqa: PLR2004 - below any bill
        return "<$0.0001"
    if cost_usd < 0.99995:  # noqa: PLR2004 - the largest that does not round to a dollar
        return f"${cost_usd:.4f}".rstrip("0")
    return f"${cost_usd:,.2f}" if cost_usd < 1000 else f"${cost_usd:,.0f}"  # noqa: PLR2004 - cents no longer matter


def rate(share: float | None) -> str:
    """Format a share of 1 as `92.5 %`; `-` for None."""
    return MISSING_TEXT if share is None else f"{share * 100:.1f} %"


def format_number(number: float | None) -> str:
    """Format a number with up to four decimals, never scientific: `0.95`, `22,690`; `-` for None."""
    if number is None:
        return MISSING_TEXT
    return f"{number:,.4f}".rstrip("0").rstrip(".")


def size(size_bytes: float) -> str:
    """Format a size: `512 B`, `3.4 KB`, `1.2 MB`, `2.0 GB` (powers of 1000)."""
    unit = "B"
    for unit in ("B", "KB", "MB", "GB"):
        if size_bytes < 999.95 or unit == "GB":  # noqa: PLR2004 - the largest that rounds below the next unit
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Format a number of things: `1 case`, `1,000 cases`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def span(seconds: float) -> str:
    """Format a long time roughly: `80 min`, `2 h 10 min`, `3 d 4 h`."""
    minutes = round(seconds / 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days} d {hours_left} h"
    return f"{hours} h {minutes_left:02d} min" if hours >= 2 else f"{minutes} min"  # noqa: PLR2004 - people say 80 minutes


def rounded(number: int) -> int:
    """Round up to two digits: a forecast is no more precise."""
    unit = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // unit) * unit


def format_evidence(e_value: float) -> str:
    """Format an e-value as `0.3`, `41`, `10^7`."""
    if e_value >= 1e6:  # noqa: PLR2004 - from here on only the power of ten matters
        return f"10^{math.floor(math.log10(e_value))}"
    return f"{e_value:,.0f}" if e_value >= 10 else f"{e_value:.1f}"  # noqa: PLR2004 - two digits are enough


def joined_lines(parts: Iterable[str], width: int | None, *, gap: str = "   ", indent: str = "") -> Iterator[str]:
    """Yield parts, separated by `gap`, in lines of at most `width` characters; parts are not broken.

    Lines after the first begin with `indent`. Without a width, or with wider parts, lines are longer.
    """
    line = ""
    for part in parts:
        longer = f"{line}{gap}{part}" if line else part
        if line and width is not None and len(longer) > width:
            yield line.rstrip()
            longer = f"{indent}{part}"
        line = longer
    if line:
        yield line


def wrapped(text: str, width: int | None, *, indent: str = "  ") -> Iterator[str]:
    """Yield a text in lines of at most `width` characters; words are not broken. Without a width it is one line."""
    from textwrap import wrap

    if width is None:
        yield text
    else:
        yield from wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def aligned(rows: Sequence[Sequence[str]], sides: str = "", gap: str = "  ") -> Iterator[str]:
    """Yield each row as a line with aligned columns.

    Args:
        rows: cells; each row has the same number.
        sides: alignment of each column, `<` left, `>` right; default left.
        gap: text between two columns.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if side == ">" else cell.ljust(width)
            for cell, width, side in zip(row, widths, sides.ljust(len(widths), "<"), strict=True)
        )
        yield gap.join(cells).rstrip()


def without_columns(
    rows: Sequence[Sequence[str]], drop_order: Sequence[int], width: int | None, *, gap: str = "  "
) -> list[tuple[str, ...]]:
    """Return rows that fit into `width` characters, without as few columns as possible.

    Args:
        rows: cells; each row has the same number.
        drop_order: columns that may be dropped, the least important first.
        width: characters of a line; None for any number.
        gap: text between two columns.
    """
    kept = list(range(len(rows[0]))) if rows else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for column in drop_order:
        if width is None or sum(widths[index] for index in kept) + len(gap) * (len(kept) - 1) <= width:
            break
        kept.remove(column)
    return [tuple(row[index] for index in kept) for row in rows]
