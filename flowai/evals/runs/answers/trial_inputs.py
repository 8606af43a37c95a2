"""Inputs of a trial for its reports: redacted first, then clipped, so that no part of a secret remains."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from flowai.evals.suites.records import iterate_assertions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.evals.suites.records import Case

MAX_VALUE_CHARS = 4_000
"""Longer texts of variables, metadata and expected answers are clipped."""
MAX_PROMPT_CHARS = 4_000
MAX_ITEM_COUNT = 200
"""Longer lists and objects are clipped."""
MAX_DEPTH = 16

ANSWER_TYPES = frozenset({
    "equals", "levenshtein", "similar", "similar:cosine", "similar:dot", "similar:euclidean", "rouge-n", "bleu", "gleu",
    "meteor", "factuality", "model-graded-factuality", "closedqa",
})  # fmt: skip
"""Assertion types whose value is a whole answer, so that a difference from it can be shown."""


class TrialInputs(NamedTuple):
    """Fields of a trial that its case and its request determine."""

    description: str | None
    vars: dict[str, Any]
    prompt_text: str
    expected: str | None
    metadata: dict[str, Any]
    tags: tuple[str, ...]
    is_critical: bool


def trial_inputs(
    case: Case,
    messages: Sequence[Any],
    redact: Callable[[str], str],
    redact_value: Callable[[Any], Any],
    critical_tags: Sequence[str] = (),
) -> TrialInputs:
    """Return the redacted and clipped inputs of a trial."""
    expected = _expected(case)
    return TrialInputs(
        description=None if case.description is None else clip(redact(case.description), MAX_VALUE_CHARS),
        vars=_clipped(redact_value(case.vars), MAX_DEPTH),
        prompt_text=clip(redact("\n\n".join(_message_texts(messages))), MAX_PROMPT_CHARS),
        expected=None if expected is None else clip(redact(expected), MAX_VALUE_CHARS),
        metadata=_clipped(redact_value(case.metadata), MAX_DEPTH),
        tags=tuple(clip(redact(tag), MAX_VALUE_CHARS) for tag in case.tags),
        is_critical=case.is_critical or any(tag in critical_tags for tag in case.tags),
    )


def clip(text: str, max_chars: int) -> str:
    """Return the beginning of a text, with the number of characters left out."""
    return text if len(text) <= max_chars else f"{text[:max_chars]} [... {len(text) - max_chars:,} more characters]"


def _clipped(value: Any, depth: int) -> Any:  # noqa: ANN401 - JSON is anything
    if isinstance(value, str):
        return clip(value, MAX_VALUE_CHARS)
    if isinstance(value, dict | list | tuple) and depth == 0:
        return "[... nested deeper]"
    if isinstance(value, dict):
        items = list(value.items())
        kept = {clip(str(key), MAX_VALUE_CHARS): _clipped(item, depth - 1) for key, item in items[:MAX_ITEM_COUNT]}
        return kept if len(items) <= MAX_ITEM_COUNT else {**kept, "...": f"{len(items) - MAX_ITEM_COUNT:,} more fields"}
    if isinstance(value, list | tuple):
        shown = [_clipped(item, depth - 1) for item in value[:MAX_ITEM_COUNT]]
        return shown if len(value) <= MAX_ITEM_COUNT else [*shown, f"... {len(value) - MAX_ITEM_COUNT:,} more"]
    return value


def _expected(case: Case) -> str | None:
    for assertion in iterate_assertions(case.assertions):
        if assertion.type in ANSWER_TYPES and not assertion.negated and assertion.value is not None:
            value = assertion.value[0] if isinstance(assertion.value, list) and assertion.value else assertion.value
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return None


def _message_texts(messages: Sequence[Any]) -> list[str]:
    """Return the text of each message; with its role if there are several."""
    texts = []
    for message in messages:
        content = message.get("content")
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
        texts.append(text if len(messages) == 1 else f"{message.get('role', 'message')}: {text}")
    return texts
