"""Rows of the fault table about answers that end politely: are they whole, and what do the caller's limits cause."""

from __future__ import annotations

from support.fault_rows import TEXTS, WELL, Row, breaks, faulty, refuses, stays

HALF = len(TEXTS["primary"]) // 2
EMOJI_TEXT = f"{TEXTS['primary'][:HALF]}\U0001f600{TEXTS['primary'][HALF:]}"
STOPPING = {"stop": ["H"]}
CALL = ("t1", "look", '{"at": "the sky"}')
FAILED_REASONS = ("canceled", "failed", "server_error", "time_limit", "MALFORMED_FUNCTION_CALL")
CUT_REASONS = ("max_output_tokens", "model_length", "ERROR_LIMIT")
FILTER_REASONS = ("SAFETY", "RECITATION")
OK_REASONS = ("end_turn", "eos", "COMPLETE")

ANSWER_ROWS: tuple[Row, ...] = (
    # --- the caller's own limits ---
    stays("empty, cut at the token limit", faulty(text="", finish_reason="length"), text="", finish_reason="length"),
    stays("empty, ended by the caller's `stop`", faulty(text=""), params=STOPPING, text=""),
    stays(
        "the next call after six that the callers' own limits emptied",
        WELL["primary"],
        first=(faulty(text=""), faulty(text="", finish_reason="length")) * 3,
        params=STOPPING,
        before=6,
    ),
    # --- torn chunks ---
    *breaks("a chunk torn in its text", "MalformedAnswerError", faulty(fault="torn_text")),
    *breaks("a chunk without its beginning", "MalformedAnswerError", faulty(fault="torn_front")),
    *breaks("a chunk that is not UTF-8", "MalformedAnswerError", faulty(fault="not_utf8")),
    *breaks("half of a character", "MalformedAnswerError", faulty(fault="half_character")),
    stays("a character split over two chunks", faulty(fault="split_character"), text=EMOJI_TEXT),
    stays("a byte order mark, and lines that end with CR", faulty(fault="cr_and_bom")),
    # --- tool calls ---
    *breaks(
        "a tool call whose arguments are cut off",
        "MalformedAnswerError",
        faulty(tool_calls=(("t1", "look", '{"at": "the s'),), finish_reason="tool_calls"),
    ),
    *breaks(
        "a tool call without a name",
        "MalformedAnswerError",
        faulty(tool_calls=(("t1", "", "{}"),), finish_reason="tool_calls"),
    ),
    *breaks(
        "two tool calls under one index",
        "MalformedAnswerError",
        faulty(tool_calls=(CALL, ("t2", "go", "{}")), finish_reason="tool_calls", fault="one_index"),
    ),
    *breaks("`tool_calls` without a tool call", "MalformedAnswerError", faulty(finish_reason="tool_calls")),
    stays(
        "a tool call cut at the token limit",
        faulty(tool_calls=(("t1", "look", '{"at": "the s'),), finish_reason="length"),
        finish_reason="length",
    ),
    stays(
        "a tool call with empty arguments",
        faulty(tool_calls=(("t1", "look", ""),), finish_reason="tool_calls"),
        finish_reason="tool_calls",
    ),
    # --- finish reasons ---
    *(
        row
        for reason in FAILED_REASONS
        for row in breaks(f"finish reason `{reason}`", "MalformedAnswerError", faulty(finish_reason=reason))
    ),
    *(
        stays(f"finish reason `{reason}`", faulty(finish_reason=reason), finish_reason="length")
        for reason in CUT_REASONS
    ),
    *(stays(f"finish reason `{reason}`", faulty(finish_reason=reason)) for reason in OK_REASONS),
    *(
        refuses(f"finish reason `{reason}`", "ContentFilteredError", faulty(finish_reason=reason), after_text=True)
        for reason in FILTER_REASONS
    ),
    stays("`length`, then `stop`", faulty(finish_reason="length", fault="stop_after"), finish_reason="length"),
    refuses(
        "`content_filter`, then `stop`",
        "ContentFilteredError",
        faulty(finish_reason="content_filter", fault="stop_after"),
        after_text=True,
    ),
    stays("an unknown finish reason", faulty(finish_reason="galaxy"), finish_reason="galaxy"),
)
