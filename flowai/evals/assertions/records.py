"""Input and output of a check function. Negation, weight and location are applied later, by `catalog`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flowai.errors import Place, SuiteError

if TYPE_CHECKING:
    from flowai.evals.suites.records import Assertion

_SHOWN_CHARS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A model's answer: the only input of a check."""

    text: str
    latency_ms: float | None = None
    """From the request to the complete answer, when it was generated; None if not measured."""
    ttft_ms: float | None = None
    """From the request to the first token, when it was generated; None if not measured."""
    cost_usd: float | None = None
    """Cost of the call, when it was made; None if the price is not known."""
    finish_reason: str | None = None
    """As reported by the provider; None if not reported."""


class CheckResult(NamedTuple):
    """Result of a check before negation."""

    passed: bool | None
    """None if it could not be judged."""
    detail: str
    """What was found and expected; follows the type's name (` 214 > 150`, `: found nothing`)."""
    score: float | None = None
    """0 to 1; None for types whose score is 1 (passed) or 0 (failed)."""


CheckFunction = Callable[[Answer], CheckResult]
"""Check an answer by one assertion, with its value and threshold."""


def suite_error(assertion: Assertion, what: str, *, hint: str | None = None) -> SuiteError:
    """Return the error for an assertion that cannot be compiled; `what` follows the type's name."""
    file, _, line = assertion.place.rpartition(":")
    place = Place(file=file, line=int(line)) if line.isdecimal() else None
    return SuiteError(f"`{assertion.spelling}` {what}", place=place, hint=hint)


def quoted(value: object) -> str:
    """Format a value on one line: as JSON, clipped, without characters that move the cursor or turn text around."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    clipped = text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."
    escaped = json.dumps(clipped, ensure_ascii=False) if isinstance(value, str) else clipped
    return printable(escaped)


def printable(text: str) -> str:
    r"""Replace characters that are not printable with `\uXXXX`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
