"""The clients, against a provider that misbehaves: every failure arrives as what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.client_calls import BOTH, Way, both_transports, complete, error, failure, listen, run
from support.scripted_provider import Asked, Reply, ScriptedProvider
from support.scripted_replies import holds, rejects_prefill

from flowai.errors import (
    AuthError,
    CallError,
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

    from flowai.providers import Chunk, Request
    from flowai.providers.direct.client import OpenAIClient

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
    "context, vLLM": (
        Reply(status=400, error=error("This model's maximum context length is 8192 tokens. However, you asked for 9.")),
        ContextTooLongError,
    ),
    "context, OpenAI": (Reply(status=400, error=error(code="context_length_exceeded")), ContextTooLongError),
    "policy, OpenAI": (Reply(status=400, error=error(code="content_policy_violation")), ContentFilteredError),
    "policy, Azure": (Reply(status=400, error=error(code="content_filter")), ContentFilteredError),
}


@both_transports
@pytest.mark.parametrize("way", BOTH)
@pytest.mark.parametrize("case", STATUSES)
def test_each_status_becomes_its_error_class(
    case: str, way: Way, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    reply, kind = STATUSES[case]
    provider.script(reply)
    caught = failure(ask(), way)
    assert type(caught) is kind
    assert caught.status == reply.status
    assert caught.provider == "openai"
    assert caught.model == "mini"
    assert caught.endpoint == provider.base_url
    assert provider.request_count == 1  # nobody retries behind our back
    assert "litellm" not in str(caught).lower()
    assert "<h1>" not in str(caught)


@both_transports
@pytest.mark.parametrize("way", BOTH)
@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), (None, None)],
)
def test_retry_after_is_read_as_seconds_or_a_date(
    header: str | None,
    seconds: float | None,
    way: Way,
    provider: ScriptedProvider,
    ask: Callable[..., Request],
) -> None:
    provider.script(Reply(status=429, retry_after=header))
    assert failure(ask(), way).retry_after_s == seconds


@both_transports
@pytest.mark.parametrize("way", BOTH)
def test_a_refused_connection_names_the_address_and_the_time(way: Way, ask: Callable[..., Request]) -> None:
    with ScriptedProvider() as gone:
        address = gone.base_url
    caught = failure(ask(api_base=address), way)
    assert type(caught) is UnreachableError
    assert caught.status is None
    host = address.removeprefix("http://").removesuffix("/v1")
    assert str(caught).startswith(f"openai: connection refused at {host} after 0.")


BROKEN = {
    "reset before the headers": (Reply(fault="reset_before_headers"), UnreachableError),
    "closed before the headers": (Reply(fault="close_before_headers"), UnreachableError),
    "reset in the middle": (Reply(fault="reset_after_headers"), MalformedAnswerError),
    "cut in the middle": (Reply(fault="cut"), MalformedAnswerError),
    "no finish reason": (Reply(fault="no_finish"), MalformedAnswerError),
    "nothing that can be read": (Reply(fault="garbage"), MalformedAnswerError),
    "text without end": (Reply(fault="endless"), MalformedAnswerError),
    "half of a JSON body": (Reply(body=b'{"id": '), MalformedAnswerError),
    "an empty body": (Reply(body=b""), MalformedAnswerError),
    "a web page": (Reply(body=b"<html>", content_type="text/html"), MalformedAnswerError),
    "plain text": (Reply(body=b"welcome", content_type="text/plain"), MalformedAnswerError),
    "no choices": (
        Reply(body=b'{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []}'),
        MalformedAnswerError,
    ),
    "choices of another kind": (Reply(body=b'{"model": "m", "choices": null}'), MalformedAnswerError),
    "a provider that gave up": (Reply(finish_reason="error"), MalformedAnswerError),
    "an error object under 200": (Reply(body=b'{"error": {"message": "slow down", "code": 429}}'), RateLimitedError),
    "overloaded in a stream": (Reply(fault="error_chunk", error=error(type="overloaded_error")), ServerError),
    "rate limit by its code": (Reply(fault="error_chunk", error=error(code=429)), RateLimitedError),
    "rate limit by its type": (Reply(fault="error_chunk", error=error(type="rate_limit_error")), RateLimitedError),
    "too long, found out late": (
        Reply(fault="error_chunk", error=error("this model's maximum context length is 8192 tokens")),
        ContextTooLongError,
    ),
}


@pytest.mark.parametrize("way", BOTH)
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_response_is_an_error(
    case: str, way: Way, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    reply, kind = BROKEN[case]
    provider.script(reply)
    caught = failure(ask(params={"max_tokens": 100}), way)
    assert type(caught) is kind
    assert caught.provider == "openai"
    assert caught.model == "mini"
    assert caught.endpoint == provider.base_url
    assert "litellm" not in str(caught).lower()
    assert provider.request_count == 1


@both_transports
@pytest.mark.parametrize("fault", ["cut", "no_finish", "error_chunk", "stall", "reset_after_headers"])
def test_a_broken_stream_yields_its_chunks_and_no_completion(
    fault: Any, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(fault=fault))
    heard: list[Chunk] = []
    with pytest.raises(CallError):
        listen(ask(first_token_timeout_s=0.2), heard)
    assert heard[0].text == "hello"
    assert all(chunk.completion is None for chunk in heard)


@pytest.mark.parametrize("way", BOTH)
@pytest.mark.parametrize("fault", ["no_done", "malformed_chunk"])
def test_minor_defects_are_tolerated(
    fault: Any, way: Way, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(fault=fault))
    answer = complete(ask(), way)
    assert answer.text == "hello world"
    assert answer.finish_reason == "stop"
    assert answer.output_tokens == 2


@both_transports
@pytest.mark.parametrize("way", BOTH)
@pytest.mark.parametrize("fault", ["silent", "role_only", "comments"])
def test_a_silent_provider_times_out_after_the_first_token_timeout(
    fault: Any, way: Way, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(fault=fault))
    caught = failure(ask(first_token_timeout_s=0.1, total_timeout_s=30), way)
    assert type(caught) is TimedOutError
    assert caught.what == f"no first token within 0.1 s from {provider.base_url}"


@both_transports
@pytest.mark.parametrize("way", BOTH)
def test_a_stalled_stream_times_out_after_the_same_time(
    way: Way, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(fault="stall"))
    caught = failure(ask(first_token_timeout_s=2, total_timeout_s=60), way)
    assert type(caught) is TimedOutError
    assert caught.what == f"the answer stalled: nothing more came within 2 s from {provider.base_url}"


@both_transports
@pytest.mark.parametrize("way", BOTH)
@pytest.mark.parametrize("fault", ["silent", "stall"])
def test_no_call_lasts_longer_than_the_total_timeout(
    fault: Any, way: Way, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(fault=fault))
    caught = failure(ask(total_timeout_s=0.2), way)
    assert type(caught) is TimedOutError
    assert caught.what == f"no complete answer within 0.2 s from {provider.base_url}"


@both_transports
def test_a_slow_steady_stream_does_not_time_out(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    text = "steady " * 30 + "end"
    provider.script(Reply(text=text, chunk_delay_s=0.1))
    assert complete(ask(first_token_timeout_s=2.0)).text == text


@both_transports
def test_an_answer_whose_connection_stays_open_is_complete(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(fault="held_open"))
    answer = complete(ask(first_token_timeout_s=2, total_timeout_s=60))
    assert answer.text == "hello world"
    assert answer.finish_reason == "stop"
    assert answer.input_tokens is None


def test_a_model_that_refuses_streams_is_called_without_from_then_on(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    refusal = error("Your organization must be verified to stream this model.", param="stream")

    def answer(asked: Asked) -> Reply:
        return Reply(status=400, error=refusal) if asked.body.get("stream") else Reply()

    provider.answerer = answer

    async def thrice(client: OpenAIClient) -> list[Any]:
        answers = [await client.complete(ask()) for _ in range(2)]
        return [*answers, *[chunk.text async for chunk in client.stream(ask())]]

    first, second, *texts = run(thrice)
    assert first.text == "hello world"
    assert second.text == "hello world"
    assert texts == ["hello world", ""]
    assert first.ttft_ms is None
    assert first.output_tokens == 2
    assert [bool(asked.body.get("stream")) for asked in provider.asked] == [True, False, False, False]


def test_a_server_without_stream_options_is_streamed_without_them(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    def answer(asked: Asked) -> Reply:
        refusal = {"message": "Extra inputs are not permitted: stream_options", "type": "invalid_request_error"}
        return Reply(status=422, error=refusal) if "stream_options" in asked.body else Reply(usage=None)

    provider.answerer = answer
    completion = complete(ask())
    assert completion.text == "hello world"
    assert completion.input_tokens is None
    assert provider.request_count == 2
    assert completion.ttft_ms is not None


@both_transports
@pytest.mark.parametrize("way", BOTH)
def test_the_provider_s_message_about_the_request_is_passed_on(way: Way, ask: Callable[..., Request]) -> None:
    with ScriptedProvider(answerer=holds(20)) as server:
        assert complete(ask("short", api_base=server.base_url), way).text == "hello world"
        assert type(failure(ask("x" * 21, api_base=server.base_url), way)) is ContextTooLongError
    prefill = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "{"})
    with ScriptedProvider(answerer=rejects_prefill) as server:
        request = msgspec.structs.replace(ask(api_base=server.base_url), messages=prefill)
        caught = failure(request, way)
    assert type(caught) is InvalidRequestError
    assert "prefill" in caught.what
