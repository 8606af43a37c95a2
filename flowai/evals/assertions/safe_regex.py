"""Regular expressions with a time limit, so that no answer can block a run.

The standard library's `re` cannot be interrupted while it backtracks; the `regex` package accepts a time limit.
Patterns have JavaScript's meaning (see `javascript_regex`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.assertions.javascript_regex import translate

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 1.0
"""Time limit of one search."""


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return a function that searches a text, with TimeoutError after `TIMEOUT_S`; a wrong pattern is a ValueError."""
    import regex  # 30 ms; few suites need it

    try:
        translated, flags = translate(pattern)
        library_flags = {"i": regex.IGNORECASE, "a": regex.ASCII}
        search = regex.compile(translated, library_flags.get(flags, 0)).search
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error) or "nested too deeply") from None

    def occurs(text: str) -> bool:
        return search(text, timeout=TIMEOUT_S) is not None

    return occurs
