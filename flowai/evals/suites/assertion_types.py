"""All assertion types: those flowai checks, with what may be written of them, and those of promptfoo's it does not.

They are in this package, below the one that checks them, because a table of cases can only be read with them: in an
`__expected` column `contains: x` is a type and a value, and `Note: x` is a text.

Source: promptfoo, "Assertions & metrics" (promptfoo.dev/docs/configuration/expected-outputs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Requirement = Literal["must", "may", "no"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AssertionType:
    """The fields of one type of assertion."""

    value: Requirement = "must"
    """Whether a value must, may or must not be given."""
    threshold: bool = False
    """Whether a threshold may be given."""
    is_list: bool = False
    """Whether the value is a list of texts."""


ASSERT_SET = "assert-set"
"""A group of assertions; it has no value of its own."""

ASSERTION_TYPES: dict[str, AssertionType] = {
    "equals": AssertionType(),
    "contains": AssertionType(),
    "contains-all": AssertionType(is_list=True),
    "contains-any": AssertionType(is_list=True),
    "icontains": AssertionType(),
    "icontains-all": AssertionType(is_list=True),
    "icontains-any": AssertionType(is_list=True),
    "starts-with": AssertionType(),
    "ends-with": AssertionType(),
    "regex": AssertionType(),
    "word-count": AssertionType(),
    "is-json": AssertionType(value="may"),
    "contains-json": AssertionType(value="may"),
    "levenshtein": AssertionType(threshold=True),
    "latency": AssertionType(value="no", threshold=True),
    "ttft": AssertionType(value="no", threshold=True),
    "cost": AssertionType(value="no", threshold=True),
    "finish-reason": AssertionType(),
}

SUPPORTED = frozenset({ASSERT_SET, *ASSERTION_TYPES})

LISTING = frozenset(name for name, kind in ASSERTION_TYPES.items() if kind.is_list)

VALUELESS = frozenset(name for name, kind in ASSERTION_TYPES.items() if kind.value != "must")
"""Types that may be in an `__expected` column without a value."""

NOT_SUPPORTED = frozenset(
    {
        "agent-rubric",
        "answer-relevance",
        "bertscore",
        "bleu",
        "character-count",
        "classifier",
        "contains-html",
        "contains-sql",
        "contains-xml",
        "context-faithfulness",
        "context-recall",
        "context-relevance",
        "conversation-relevance",
        "factuality",
        "f-score",
        "g-eval",
        "gleu",
        "guardrails",
        "human",
        "is-html",
        "is-refusal",
        "is-sql",
        "is-valid-function-call",
        "is-valid-openai-function-call",
        "is-valid-openai-tools-call",
        "is-xml",
        "javascript",
        "llm-rubric",
        "max-score",
        "meteor",
        "model-graded-closedqa",
        "model-graded-factuality",
        "moderation",
        "noise-sensitivity",
        "perplexity",
        "perplexity-score",
        "pi",
        "python",
        "rouge-n",
        "ruby",
        "search-rubric",
        "select-best",
        "similar",
        "skill-used",
        "tool-call-f1",
        "trace-error-spans",
        "trace-span-count",
        "trace-span-duration",
        "trajectory:goal-success",
        "trajectory:step-count",
        "trajectory:tool-args-match",
        "trajectory:tool-sequence",
        "trajectory:tool-used",
        "webhook",
    }
)
"""Promptfoo's other types, so that the error can say that they are known and missing rather than misspelt."""
