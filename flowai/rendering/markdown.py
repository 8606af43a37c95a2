"""Makes any text mean itself where people read it: on one line, and in Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_CELL_CHARS = 300
_MARK = re.compile(r"[\\`*\[\]|~#]|(?<![^\W_])_|_(?![^\W_])")  # within a word an underscore means itself


def one_line(text: str, most_chars: int = 100) -> str:
    """Clip a text to one printable line: white space folded, control characters shown as their escapes.

    Args:
        text: any text; nothing in it may move a cursor.
        most_chars: its length at most, the ellipsis included.
    """
    folded = " ".join(text[: most_chars * 4].split())
    shown = visible(folded)
    cut = len(shown) > most_chars or len(text) > most_chars * 4
    return shown[: most_chars - 3] + "..." if cut else shown


def visible(text: str) -> str:
    """Return a text with control characters as their escapes, so that nothing moves a cursor or turns a line around.

    Line ends and tabs are kept.
    """
    return "".join(char if char in "\n\t" or char.isprintable() else repr(char)[1:-1] for char in text)


def escape_markdown(text: str, most_chars: int = _MAX_CELL_CHARS) -> str:
    """Give a text as one line of Markdown, also in a cell; entities, because some readers keep HTML as it is."""
    safe = one_line(text, most_chars).replace("&", "&amp;").replace("<", "&lt;")
    return _MARK.sub(r"\\\g<0>", safe)


def inline_code(text: str) -> str:
    """Give a text as one line of code in Markdown, also in a table's cell."""
    return f"`{one_line(text, _MAX_CELL_CHARS).replace('`', chr(39)).replace('|', '/')}`"


def code_block(text: str, *, most_chars: int, language: str = "text") -> str:
    """Give a text as a block of code in Markdown, inside a fence that it cannot close.

    Args:
        text: any text.
        most_chars: what is longer is cut, and the rest counted.
        language: how the block is coloured.
    """
    cut = text[:most_chars]
    ticks = max((len(run) for run in re.findall(r"`+", cut)), default=0)
    fence = "`" * max(3, ticks + 1)
    more = f"\n... {len(text) - len(cut):,} more characters" if len(text) > len(cut) else ""
    return f"{fence}{language}\n{cut}{more}\n{fence}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give a table in Markdown, its cells escaped and aligned."""
    from tabulate import tabulate  # 50 ms that only reports pay

    cells = [[escape_markdown(cell) for cell in row] for row in rows]
    return tabulate(cells, headers=[escape_markdown(one) for one in columns], tablefmt="github", disable_numparse=True)
