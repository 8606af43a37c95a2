"""Input and output of a check function. Negation, weight and location are applied later, by `catalog`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from flowai.errors import Place, SuiteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.suites.records import Assertion, Case

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
    output: Any = None
    """Value of the answer after its transforms, if it is no text; None if `text` is the value."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """In OpenAI's format."""
    declared_tools: Mapping[str, Any] = field(default_factory=dict)
    """What the target may call: `tools` and `functions` of its configuration, in OpenAI's format."""
    refusal: str | None = None
    """The provider's own field for a refusal."""
    logprobs: tuple[float, ...] | None = None
    """Natural logarithm of each token's probability; None if not reported."""
    guardrails: Mapping[str, Any] | None = None
    """Result of the provider's moderation (`flagged`, `flaggedInput`, `flaggedOutput`, `reason`)."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The target's own fields of the answer."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the case."""
    prompt: str = ""
    """The rendered prompt: its text, or its messages as JSON."""
    provider: str = ""
    """Name of the target."""
    is_cached: bool = False
    case: Case | None = None


class CheckResult(NamedTuple):
    """Result of a check before negation."""

    passed: bool | None
    """None if it could not be judged."""
    detail: str
    """What was found and expected; follows the type's name (` 214 > 150`, `: found nothing`)."""
    score: float | None = None
    """0 to 1; None for types whose score is 1 (passed) or 0 (failed)."""
    metrics: dict[str, float] | None = None
    """Named scores that the check computed besides its own."""


CheckFunction = Callable[[Answer], CheckResult]
"""Check an answer by one assertion, with its value and threshold."""


@dataclass(frozen=True, slots=True)
class AsyncCheck:
    """Check of an assertion that calls a program or a model."""

    apply: Callable[[Answer], Awaitable[CheckResult]]


Check = CheckFunction | AsyncCheck


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
