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

SET_TYPES = frozenset({ASSERT_SET, "and", "or"})
"""Groups of assertions: `assert-set` and `and` need all of them, or a score; `or` needs one."""

COMPARISON_TYPES = frozenset({"select-best", "max-score"})
"""Types that compare all answers to a case."""

CODE_TYPES = frozenset({"javascript", "python"})
"""Types whose value is code."""

_PLAIN = AssertionType()
_LIST = AssertionType(is_list=True)
_SCORED = AssertionType(threshold=True)
_OPTIONAL = AssertionType(value="optional")
_LIMIT = AssertionType(value="forbidden", threshold=True)
_WITHOUT_VALUE = AssertionType(value="forbidden")
_GRADED = AssertionType(value="optional", threshold=True)

ASSERTION_TYPES: dict[str, AssertionType] = {
    "equals": _PLAIN,
    "contains": _PLAIN,
    "contains-all": _LIST,
    "contains-any": _LIST,
    "icontains": _PLAIN,
    "icontains-all": _LIST,
    "icontains-any": _LIST,
    "starts-with": _PLAIN,
    "ends-with": _PLAIN,
    "regex": _PLAIN,
    "word-count": _PLAIN,
    "character-count": _PLAIN,
    "is-json": _OPTIONAL,
    "contains-json": _OPTIONAL,
    "is-html": _WITHOUT_VALUE,
    "contains-html": _WITHOUT_VALUE,
    "is-sql": _OPTIONAL,
    "contains-sql": _OPTIONAL,
    "is-xml": _OPTIONAL,
    "contains-xml": _OPTIONAL,
    "is-refusal": _WITHOUT_VALUE,
    "levenshtein": _SCORED,
    "bleu": _SCORED,
    "gleu": _SCORED,
    "rouge-n": _SCORED,
    "meteor": _SCORED,
    "similar": _SCORED,
    "similar:cosine": _SCORED,
    "similar:dot": _SCORED,
    "similar:euclidean": _SCORED,
    "latency": _LIMIT,
    "ttft": _LIMIT,
    "cost": _LIMIT,
    "perplexity": _LIMIT,
    "perplexity-score": _LIMIT,
    "finish-reason": _PLAIN,
    "guardrails": _WITHOUT_VALUE,
    "is-valid-function-call": _OPTIONAL,
    "is-valid-openai-function-call": _OPTIONAL,
    "is-valid-openai-tools-call": _OPTIONAL,
    "tool-call-f1": _SCORED,
    "javascript": _SCORED,
    "python": _SCORED,
    "webhook": _PLAIN,
    "llm-rubric": _GRADED,
    "factuality": _SCORED,
    "model-graded-factuality": _SCORED,
    "model-graded-closedqa": _SCORED,
    "g-eval": _SCORED,
    "conversation-relevance": _GRADED,
    "answer-relevance": _GRADED,
    "context-recall": _SCORED,
    "context-relevance": _GRADED,
    "context-faithfulness": _GRADED,
    "moderation": _GRADED,
    "select-best": _PLAIN,
    "max-score": _GRADED,
}

SUPPORTED_TYPES = frozenset({*SET_TYPES, *ASSERTION_TYPES})

LIST_TYPES = frozenset(name for name, kind in ASSERTION_TYPES.items() if kind.is_list)

TYPES_WITHOUT_VALUE = frozenset(name for name, kind in ASSERTION_TYPES.items() if kind.value != "required")
"""Types that may be in an `__expected` column without a value."""

UNSUPPORTED_HINTS: dict[str, str] = {
    "agent-rubric": "use `llm-rubric`",
    "bertscore": "use `similar`",
    "citation-faithfulness": "use `context-faithfulness`",
    "classifier": "use `llm-rubric`, or `python` with a classifier of your own",
    "f-score": "compute it in `derivedMetrics`",
    "human": "label trials in the compare page",
    "noise-sensitivity": "use `llm-rubric`",
    "pi": "use `llm-rubric`",
    "research-rubric": "use `llm-rubric`",
    "ruby": "use `python` or `javascript`",
    "search-rubric": "use `llm-rubric`",
    "skill-used": "use `tool-call-f1`",
    "video-rubric": "flowai judges texts",
    **dict.fromkeys(
        (
            "trace-error-spans", "trace-span-count", "trace-span-duration", "trajectory:goal-success",
            "trajectory:step-count", "trajectory:tool-args-match", "trajectory:tool-sequence", "trajectory:tool-used",
        ),
        "flowai records no traces of agents; `tool-call-f1` checks the calls of one answer",
    ),
}  # fmt: skip
"""Promptfoo's other types, each with what to use instead."""

UNSUPPORTED_TYPES = frozenset(UNSUPPORTED_HINTS)
"""Promptfoo's other types: the error says that they are not supported, rather than unknown."""
