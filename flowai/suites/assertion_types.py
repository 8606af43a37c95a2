"""The names of assertion types: those flowai checks, and those of promptfoo's it does not.

In: nothing. Out: names. Must never know how a type is checked.

They stand here, below the room that checks them, because a table of cases can only be read with them: in an
`__expected` column `contains: x` is a type and a value, and `Note: x` is a text.

Source: promptfoo, "Assertions & metrics" (promptfoo.dev/docs/configuration/expected-outputs).
"""

from __future__ import annotations

ASSERT_SET = "assert-set"

LISTING = frozenset({"contains-all", "contains-any", "icontains-all", "icontains-any"})
"""Types whose value is a list of texts."""

VALUELESS = frozenset({"is-json", "contains-json", "latency", "cost", "ttft"})
"""Types that stand in an `__expected` column without a value."""

SUPPORTED = (
    frozenset(
        {
            ASSERT_SET,
            "equals",
            "contains",
            "icontains",
            "starts-with",
            "ends-with",
            "regex",
            "word-count",
            "levenshtein",
            "finish-reason",
        }
    )
    | LISTING
    | VALUELESS
)

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
