"""LiteLLM itself, against a provider that misbehaves: every failure arrives as what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asking import BOTH, complete, error, failure, run
from scripted_provider import Reply, ScriptedProvider

from flowai.errors import (
    AuthError,
    ContentFilteredError,
    ContextTooLongError,
    InvalidRequestError,
    MalformedAnswerError,
    ModelNotFoundError,
    RateLimitedError,
    ServerError,
    TimedOutError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.calls import Chunk, Measure, Request
    from flowai.calls.litellm_client import LiteLLMClient

STATUSES = {
    "429": (Reply(status=429), RateLimitedError),
    "500": (Reply(status=500), ServerError),
    "502 with a page": (
        Reply(status=502, body=b"<html><h1>bad gateway</h1></html>", content_type="text/html"),
        ServerError,
    ),
    "503": (Reply(status=503), ServerError),
    "529": (Reply(status=529, error=error(type="overloaded_error")), ServerError),
    "501": (Reply(status=501), InvalidRequestError),
    "401": (Reply(status=401), AuthError),
    "403": (Reply(status=403), AuthError),
    "404": (Reply(status=404, error=error(code="model_not_found")), ModelNotFoundError),
    "400": (Reply(status=400), InvalidRequestError),
    "408": (Reply(status=408), TimedOutError),
    "422": (Reply(status=422), InvalidRequestError),
    "context, OpenAI": (Reply(status=400, error=error(code="context_length_exceeded")), ContextTooLongError),
    "policy, OpenAI": (Reply(status=400, error=error(code="content_policy_violation")), ContentFilteredError),
    "policy, Azure": (Reply(status=400, error=error(code="content_filter")), ContentFilteredError),
}


@pytest.mark.parametrize("measure", BOTH)
@pytest.mark.parametrize("case", STATUSES)
def test_a_status_becomes_the_error_that_says_what_happened(
    case: str, measure: Measure, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    reply, kind = STATUSES[case]
    provider.script(reply)
    caught = failure(ask(), measure)
    assert type(caught) is kind
    assert caught.status == reply.status
    assert (caught.provider, caught.model, caught.endpoint) == ("openai", "mini", provider.base_url)
    assert provider.request_count == 1  # nobody retries behind our back
    assert "litellm" not in str(caught).lower()
    assert "<h1>" not in str(caught)


@pytest.mark.parametrize("measure", BOTH)
@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), (None, None)],
)
def test_retry_after_is_read_as_seconds_or_a_date(
    header: str | None,
    seconds: float | None,
    measure: Measure,
    provider: ScriptedProvider,
    ask: Callable[..., Request],
) -> None:
    provider.script(Reply(status=429, retry_after=header))
    assert failure(ask(), measure).retry_after_s == seconds


@pytest.mark.parametrize("measure", BOTH)
def test_a_refused_connection_names_the_address_and_the_time(measure: Measure, ask: Callable[..., Request]) -> None:
    with ScriptedProvider() as gone:
        address = gone.base_url
    caught = failure(ask(api_base=address), measure)
    assert type(caught) is UnreachableError
    assert caught.status is None
    host = address.removeprefix("http://").removesuffix("/v1")
    assert str(caught).startswith(f"openai: connection refused at {host} after 0.")


BROKEN = {
    "reset before the headers": (Reply(fault="reset_before_headers"), UnreachableError, UnreachableError),
    "closed before the headers": (Reply(fault="close_before_headers"), UnreachableError, UnreachableError),
    "reset in the middle": (Reply(fault="reset_after_headers"), MalformedAnswerError, MalformedAnswerError),
    "cut in the middle": (Reply(fault="cut"), MalformedAnswerError, MalformedAnswerError),
    "half of a JSON body": (Reply(body=b'{"id": '), MalformedAnswerError, MalformedAnswerError),
    "an empty body": (Reply(body=b""), MalformedAnswerError, MalformedAnswerError),
    "a web page": (Reply(body=b"<html>", content_type="text/html"), MalformedAnswerError, MalformedAnswerError),
    "no choices": (
        Reply(body=b'{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []}'),
        MalformedAnswerError,
        MalformedAnswerError,
    ),
    "an error object under 200": (
        Reply(body=b'{"error": {"message": "slow down", "code": 429}}'),
        RateLimitedError,
        MalformedAnswerError,
    ),
}


@pytest.mark.parametrize("measure", BOTH)
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_answer_is_never_an_answer(
    case: str, measure: Measure, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    reply, plain, streamed = BROKEN[case]
    provider.script(reply)
    assert type(failure(ask(), measure)) is (plain if measure == "whole" else streamed)


STREAMS = {
    "no finish reason": (Reply(fault="no_finish"), MalformedAnswerError),
    "one malformed chunk": (Reply(fault="malformed_chunk"), MalformedAnswerError),
    "overloaded": (Reply(fault="error_chunk", error=error(type="overloaded_error")), ServerError),
    "rate limit by its code": (Reply(fault="error_chunk", error=error(code=429)), RateLimitedError),
    "rate limit by its type": (Reply(fault="error_chunk", error=error(type="rate_limit_error")), RateLimitedError),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_dies_never_ends_as_if_it_were_whole(
    case: str, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    reply, kind = STREAMS[case]
    provider.script(reply)
    heard: list[Chunk] = []

    async def listen(client: LiteLLMClient) -> None:
        async for chunk in client.stream(ask()):
            heard.append(chunk)  # noqa: PERF401 - what came before the failure must be kept

    with pytest.raises(kind):
        run(listen)
    assert heard[0].text == "hello"
    assert all(chunk.completion is None for chunk in heard)


def test_a_missing_end_marker_after_a_whole_answer_is_no_failure(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(fault="no_done"))
    assert complete(ask(), "first_token").text == "hello world"


def test_a_silent_provider_is_left_after_the_first_token_timeout(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(fault="silent"))
    caught = failure(ask(first_token_timeout_s=0.1, total_timeout_s=30), "first_token")
    assert type(caught) is TimedOutError
    assert caught.what == f"no first token within 0.1 s from {provider.base_url}"


def test_a_stream_that_stalls_is_left_at_the_total_timeout(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(fault="stall"))
    caught = failure(ask(first_token_timeout_s=0.2, total_timeout_s=0.4), "first_token")
    assert caught.what == f"no whole answer within 0.4 s from {provider.base_url}"


@pytest.mark.parametrize("fault", ["silent", "stall"])
def test_a_plain_request_is_left_at_the_total_timeout(
    fault: Any, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(fault=fault))
    caught = failure(ask(total_timeout_s=0.2))
    assert type(caught) is TimedOutError
    assert caught.what == f"no answer within 0.2 s from {provider.base_url}"
