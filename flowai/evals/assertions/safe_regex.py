"""Regular expressions that cannot hang a run.

The standard library's `re` cannot be stopped while it backtracks, and a model's answer is long and hostile. The `regex`
package reads the same syntax and takes a time limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 1.0
"""Seconds one search may take."""


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Make a search of a pattern.

    Args:
        pattern: a regular expression in Python's syntax; flags stand inside it (`(?i)`, `(?s)`).

    Returns:
        A function from a text to whether the pattern occurs in it; raises TimeoutError after `LIMIT_S`.

    Raises:
        ValueError: not a regular expression; says why.
    """
    import regex  # 30 ms; few suites need it

    try:
        search = regex.compile(pattern).search
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error) or "nested too deeply") from None

    def found(text: str) -> bool:
        return search(text, timeout=LIMIT_S) is not None

    return found
