"""Checks that a complete answer is whole: every client's answer passes here before a caller gets it.

What the request's own limits cut short (a token limit, stop sequences) is an answer, even an empty one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.providers.failures import content_filtered_error, malformed_error
from flowai.providers.finish_reasons import MODEL_FAILURES, finish_kind, normalised_reason
from flowai.providers.openai.tool_calls import repaired_calls, tool_call_problem

if TYPE_CHECKING:
    from flowai.providers.client import Completion, Request

STOP_PARAMS = ("stop", "stop_sequences")
"""Parameters that may end an answer before its first word."""


def checked_completion(completion: Completion, request: Request) -> Completion:
    """Return an answer with OpenAI's finish reason and complete tool calls.

    Raises:
        ContentFilteredError: the provider's policy cut it off.
        MalformedAnswerError: the provider gave up in the middle, a tool call is not one, or the answer is empty
            although no limit of the request explains it.
    """
    reason = completion.finish_reason
    kind = finish_kind(reason)
    normalised = None if reason is None else normalised_reason(reason)
    if kind == "filtered":
        raise content_filtered_error(request.endpoint, "the provider's policy cut the answer off")
    if kind == "failed":
        what = f"the provider broke the answer off (`{normalised}`)"
        raise malformed_error(request.endpoint, what, is_complete=normalised in MODEL_FAILURES)
    calls = completion.tool_calls
    if kind != "cut":
        calls = repaired_calls(calls)
        problem = tool_call_problem(calls, normalised)
        if problem is not None:
            raise malformed_error(request.endpoint, problem, is_complete=True)
        if not calls and not completion.text.strip() and not _may_be_empty(request):
            raise malformed_error(request.endpoint, "the answer is empty", is_complete=True)
    if normalised == reason and calls is completion.tool_calls:
        return completion
    return msgspec.structs.replace(completion, finish_reason=normalised, tool_calls=calls)


def _may_be_empty(request: Request) -> bool:
    return any(request.params.get(name) for name in STOP_PARAMS)
