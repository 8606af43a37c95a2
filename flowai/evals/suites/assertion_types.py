"""Names of all assertion types and the fields of each; `assertions.catalog` has their checks.

They are in this package because a table of cases cannot be read without them: in an `__expected` column `contains: x`
is a type and a value, and `Note: x` is a text.

Source: promptfoo, "Assertions & metrics" (promptfoo.dev/docs/configuration/expected-outputs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Requirement = Literal["required", "optional", "forbidden"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AssertionType:
    """Fields that an assertion of one type may have."""

    value: Requirement = "required"
    threshold: bool = False
    is_list: bool = False


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
    "is-json": AssertionType(value="optional"),
    "contains-json": AssertionType(value="optional"),
    "levenshtein": AssertionType(threshold=True),
    "latency": AssertionType(value="forbidden", threshold=True),
    "ttft": AssertionType(value="forbidden", threshold=True),
    "cost": AssertionType(value="forbidden", threshold=True),
    "finish-reason": AssertionType(),
}

SUPPORTED_TYPES = frozenset({ASSERT_SET, *ASSERTION_TYPES})

LIST_TYPES = frozenset(name for name, kind in ASSERTION_TYPES.items() if kind.is_list)

TYPES_WITHOUT_VALUE = frozenset(name for name, kind in ASSERTION_TYPES.items() if kind.value != "required")
"""Types that may be in an `__expected` column without a value."""

UNSUPPORTED_TYPES = frozenset((
    "agent-rubric", "answer-relevance", "bertscore", "bleu", "character-count", "classifier", "contains-html",
    "contains-sql", "contains-xml", "context-faithfulness", "context-recall", "context-relevance",
    "conversation-relevance", "factuality", "f-score", "g-eval", "gleu", "guardrails", "human", "is-html", "is-refusal",
    "is-sql", "is-valid-function-call", "is-valid-openai-function-call", "is-valid-openai-tools-call", "is-xml",
    "javascript", "llm-rubric", "max-score", "meteor", "model-graded-closedqa", "model-graded-factuality", "moderation",
    "noise-sensitivity", "perplexity", "perplexity-score", "pi", "python", "rouge-n", "ruby", "search-rubric",
    "select-best", "similar", "skill-used", "tool-call-f1", "trace-error-spans", "trace-span-count",
    "trace-span-duration", "trajectory:goal-success", "trajectory:step-count", "trajectory:tool-args-match",
    "trajectory:tool-sequence", "trajectory:tool-used", "webhook",
))  # fmt: skip
"""Promptfoo's other types: the error says that they are not supported, rather than unknown."""
