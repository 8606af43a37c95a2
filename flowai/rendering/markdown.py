"""Escapes any text for one line and for Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_CELL_CHARS = 300
_KEPT = frozenset("\n\t\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000")
"""White space that Python counts as not printable, and Unicode as spaces (category Zs)."""
_MARK = re.compile(r"[\\`*\[\]|~#]|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word needs no escape


def one_line(text: str, max_chars: int = 100) -> str:
    """Return a text as one printable line of at most `max_chars`, ellipsis included.

    White space is folded and control characters are escaped, so that nothing moves a cursor.
    """
    folded = " ".join(text[: max_chars * 4].split())
    shown = visible(folded)
    cut = len(shown) > max_chars or len(text) > max_chars * 4
    return shown[: max_chars - 3] + "..." if cut else shown


def visible(text: str) -> str:
    """Return a text with control characters escaped, so that nothing moves a cursor or reverses a line.

    Line feeds, tabs and spaces of every width are kept.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _KEPT else repr(char)[1:-1] for char in text)


def escape_markdown(text: str, max_chars: int = _MAX_CELL_CHARS) -> str:
    """Return a text as one line of Markdown, also for a table's cell; with entities, because some viewers keep HTML."""
    safe = one_line(text, max_chars).replace("&", "&amp;").replace("<", "&lt;")
    return _MARK.sub(r"\\\g<0>", safe)


def inline_code(text: str) -> str:
    """Return a text as inline code of Markdown, also for a table's cell."""
    return f"`{one_line(text, _MAX_CELL_CHARS).replace('`', chr(39)).replace('|', '/')}`"


def code_block(text: str, *, max_chars: int, language: str = "text") -> str:
    """Return a text as a code block of Markdown with a fence that it cannot close; cut at `max_chars`.

    Control characters are escaped.
    """
    cut = visible(text[:max_chars])
    ticks = max((len(run) for run in re.findall(r"`+", cut)), default=0)
    fence = "`" * max(3, ticks + 1)
    more = f"\n... {len(text) - max_chars:,} more characters" if len(text) > max_chars else ""
    return f"{fence}{language}\n{cut}{more}\n{fence}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with escaped and aligned cells."""
    from tabulate import tabulate  # 50 ms that only reports need

    cells = [[escape_markdown(cell) for cell in row] for row in rows]
    headers = [escape_markdown(column) for column in columns]
    return tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)
