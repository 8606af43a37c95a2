"""What goes into a check and what comes out of it, before negation, weight and place are put to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from flowai.errors import Place, SuiteError

if TYPE_CHECKING:
    from flowai.evals.suites.records import Assertion

_SHOWN_CHARS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer of a model: the sole input of any check."""

    text: str
    """What the model said."""
    vars: dict[str, Any] = field(default_factory=dict)
    """The case's variables."""
    latency_ms: float | None = None
    """From the request to the whole answer when it was made, >= 0; None when not measured."""
    ttft_ms: float | None = None
    """From the request to the first token when it was made, >= 0; None when not measured."""
    cost_usd: float | None = None
    """US dollars of the call when it was made, >= 0; None when the price is not known."""
    finish_reason: str | None = None
    """As the provider gave it; None when it gave none."""


class CheckResult(NamedTuple):
    """What a type found, as if there were no `not-`."""

    passed: bool | None
    """Whether it holds; None when it cannot be told."""
    detail: str
    """What was found and expected, to be read after the type's name (` 214 > 150`, `: found nothing`)."""
    score: float | None = None
    """0 to 1; None for types that know only 1 when it holds and 0 when not."""


CheckFunction = Callable[[Answer], CheckResult]
"""An assertion's type with its value and threshold, ready for any number of answers."""


def suite_error(assertion: Assertion, what: str, *, hint: str | None = None) -> SuiteError:
    """Give the error to raise about an assertion that cannot be checked.

    Args:
        assertion: the assertion.
        what: what is wrong, to be read after its type.
        hint: what to do about it.
    """
    file, _, line = assertion.place.rpartition(":")
    place = Place(file=file, line=int(line)) if line.isdecimal() else None
    return SuiteError(f"`{assertion.spelling}` {what}", place=place, hint=hint)


def quoted(value: object) -> str:
    """Show a value on one line: as JSON, clipped, with nothing that moves a cursor or turns a line around."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    clipped = text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."
    escaped = json.dumps(clipped, ensure_ascii=False) if isinstance(value, str) else clipped
    return printable(escaped)


def printable(text: str) -> str:
    r"""Write characters that are not printable as `\uXXXX`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
