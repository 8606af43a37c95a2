"""Finish reasons of all providers: only a known good end is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.providers.finish_reasons import FinishKind, finish_kind, normalised_reason, worse_reason

KINDS: dict[FinishKind, tuple[str, ...]] = {
    "ok": (
        "stop",
        "STOP",
        "end_turn",
        "eos",
        "eos_token",
        "stop_sequence",
        "COMPLETE",
        "tool_calls",
        "function_call",
        "tool_use",
    ),
    "cut": (
        "length",
        "MAX_TOKENS",
        "max_tokens",
        "max_output_tokens",
        "model_length",
        "ERROR_LIMIT",
        "TOKEN_LIMIT",
        "model_context_window_exceeded",
    ),
    "filtered": (
        "content_filter",
        "SAFETY",
        "RECITATION",
        "PROHIBITED_CONTENT",
        "guardrail_intervened",
        "refusal",
        "ERROR_TOXIC",
    ),
    "failed": (
        "error",
        "ERROR",
        "abort",
        "canceled",
        "cancelled",
        "USER_CANCEL",
        "failed",
        "server_error",
        "time_limit",
        "timeout",
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "insufficient_system_resource",
        "incomplete",
        "OTHER",
    ),
    "unknown": ("galaxy", "pause_turn", "stop!", "unstop", "lengthy"),
}


@pytest.mark.parametrize(("kind", "reason"), [(kind, reason) for kind, reasons in KINDS.items() for reason in reasons])
def test_each_reason_has_its_kind_however_it_is_spelt(kind: FinishKind, reason: str) -> None:
    others = (reason.lower(), reason.upper(), f"FinishReason.{reason}", reason.replace("_", "-"), f" {reason} ")
    assert {finish_kind(spelt) for spelt in (reason, *others)} == {kind}


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("MAX_TOKENS", "length"),
        ("end_turn", "stop"),
        ("SAFETY", "content_filter"),
        ("tool_use", "tool_calls"),
        ("Galaxy", "Galaxy"),
    ],
)
def test_callers_get_openai_s_words_and_unknown_ones_as_they_came(reason: str, word: str) -> None:
    assert normalised_reason(reason) == word


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (None, "stop", "stop"),
        ("length", "stop", "length"),
        ("content_filter", "stop", "content_filter"),
        ("content_filter", "length", "content_filter"),
        ("galaxy", "stop", "galaxy"),
        ("stop", "tool_calls", "tool_calls"),
        ("stop", "length", "length"),
    ],
)
def test_a_worse_reason_is_never_overruled(first: str | None, second: str, kept: str) -> None:
    assert worse_reason(first, second) == kept


@given(st.text())
def test_no_text_but_a_known_one_is_a_good_end(text: str) -> None:
    word = normalised_reason(text)
    assert len(word) <= 64
    assert (finish_kind(text) == "ok") == (word in {"stop", "tool_calls"})
    assert normalised_reason(word) == word
