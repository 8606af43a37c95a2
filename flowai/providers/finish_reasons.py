"""Finish reasons of all providers, in OpenAI's words.

An unknown one stays as the provider spells it: it does not prove that the answer is complete, as `stop` does.
"""

from __future__ import annotations

from typing import Literal

FinishKind = Literal["ok", "cut", "filtered", "failed", "unknown"]
"""`ok`: the model ended its answer. `cut`: the answer reached a token limit. `filtered`: the provider's policy ended
it. `failed`: the provider or the model gave up in the middle. `unknown`: the table has no such reason."""

MAX_REASON_CHARS = 64

_REASONS: dict[str, tuple[FinishKind, str]] = {
    **dict.fromkeys(
        (
            "stop",
            "stopped",
            "stop_sequence",
            "stop_token",
            "end",
            "end_turn",
            "eos",
            "eos_token",
            "complete",
            "completed",
            "done",
            "finish",
            "finished",
            "normal",
        ),
        ("ok", "stop"),
    ),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), ("ok", "tool_calls")),
    **dict.fromkeys(
        (
            "length",
            "max_length",
            "max_tokens",
            "max_new_tokens",
            "max_output_tokens",
            "max_completion_tokens",
            "token_limit",
            "model_length",
            "context_length",
            "context_length_exceeded",
            "model_context_window_exceeded",
            "error_limit",
        ),
        ("cut", "length"),
    ),
    **dict.fromkeys(
        (
            "content_filter",
            "content_filtered",
            "content_policy",
            "content_policy_violation",
            "guardrail_intervened",
            "safety",
            "image_safety",
            "recitation",
            "blocklist",
            "prohibited_content",
            "spii",
            "language",
            "error_toxic",
            "refusal",
            "sensitive",
            "moderation",
            "blocked",
        ),
        ("filtered", "content_filter"),
    ),
    **{
        name: ("failed", name)
        for name in (
            "abort",
            "aborted",
            "cancel",
            "canceled",
            "cancelled",
            "user_cancel",
            "error",
            "errored",
            "fail",
            "failed",
            "failure",
            "finish_reason_unspecified",
            "incomplete",
            "insufficient_system_resource",
            "internal_error",
            "interrupted",
            "malformed_function_call",
            "malformed_response",
            "missing_thought_signature",
            "network_error",
            "no_image",
            "not_finished",
            "other",
            "overloaded",
            "preempted",
            "server_error",
            "time_limit",
            "timeout",
            "too_many_tool_calls",
            "unexpected_tool_call",
        )
    },
}
"""Kind and OpenAI's word by a provider's word, in lower case.

Sources: API references of OpenAI, Anthropic (stop reasons), Gemini (FinishReason), Mistral, Cohere, Bedrock Converse,
watsonx, DeepSeek, vLLM, llama.cpp and Text Generation Inference.
"""

MODEL_FAILURES = frozenset(
    {
        "malformed_function_call",
        "malformed_response",
        "missing_thought_signature",
        "no_image",
        "too_many_tool_calls",
        "unexpected_tool_call",
    }
)
"""Failed reasons that are the model's own: they depend on the request, and prove nothing about the provider."""

_RANKS: dict[FinishKind, int] = {"ok": 0, "unknown": 1, "cut": 2, "filtered": 3, "failed": 4}


def finish_kind(reason: str | None) -> FinishKind:
    """Return the kind of a finish reason; a missing one is unknown."""
    return "unknown" if reason is None else _lookup(reason)[0]


def normalised_reason(reason: str) -> str:
    """Return OpenAI's word for a finish reason; an unknown one as the provider spells it, cut to 64 characters."""
    return _lookup(reason)[1]


def worse_reason(known: str | None, reason: str) -> str:
    """Return the finish reason of an answer that reported two: a `stop` never overrules a `length`, both normalised."""
    is_worse = known is None or _RANKS[finish_kind(reason)] >= _RANKS[finish_kind(known)]
    return reason if is_worse or known is None else known


def _lookup(reason: str) -> tuple[FinishKind, str]:
    name = reason.strip()
    key = name.lower().removeprefix("finishreason.").replace("-", "_").replace(" ", "_")
    return _REASONS.get(key) or ("unknown", name[:MAX_REASON_CHARS])
