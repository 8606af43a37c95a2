"""Comparisons of cached answers with answers that were paid for: what the semantic cache would have got wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from flowai.providers import Completion

Outcome = Literal["equal", "same", "different", "undecided"]
"""`equal`: both answers are one text, apart from case, spaces and the order of JSON keys. `same`, `different`: a person
or a judge decided. `undecided`: not yet."""

Route = Literal["threshold", "learnt", "below"]
"""`threshold`: the similarity is above the feature's. `learnt`: above the entry's own. `below`: recorded to learn the
entry's."""

MAX_COMPARISONS = 10_000
"""Comparisons kept of each scope; the oldest are dropped."""

MAX_AGE_S = 90 * 86_400.0
"""Older comparisons are dropped: models and users change."""


class ComparedTexts(msgspec.Struct, frozen=True, kw_only=True):
    """Requests and answers for a reviewer."""

    asked: str
    cached_asked: str
    answer: str
    """The answer that was paid for."""
    cached_answer: str


class AnswerComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Cached answer, compared with the answer of a call that was similar."""

    call_id: str
    scope: str
    """`feature/` and 64 hex digits over prompt, model and parameters, of all tenants; evidence counts within it."""
    feature: str
    key: str
    """Key of the cached answer."""
    at_s: float
    """Time of the call, seconds since 1970."""
    similarity: float
    route: Route
    outcome: Outcome
    is_check: bool = False
    """The cached answer would have been served, and the call was chosen to check it."""
    cost_usd: float = 0.0
    """US dollars that a hit would have saved, where the price is known."""
    texts: ComparedTexts | None = None
    """None once decided, and after the cached answer's lifetime."""


def compare_answers(paid: Completion, cached: Completion) -> Outcome:
    """Compare two answers without a judge."""
    same_calls = _tool_calls(paid) == _tool_calls(cached)
    return "equal" if same_calls and _normal(paid.text) == _normal(cached.text) else "undecided"


def _tool_calls(completion: Completion) -> list[Any]:
    """Return names and arguments of the tools that an answer calls, without ids."""
    functions = [call.get("function", {}) for call in completion.tool_calls]
    return [(function.get("name"), _normal(str(function.get("arguments", "")))) for function in functions]


def _normal(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.casefold().split()).rstrip(".")
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else " ".join(text.casefold().split())
