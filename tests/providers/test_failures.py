"""Whose fault an HTTP answer is: real providers' refusals, word for word where they are public."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from flowai.providers import Endpoint
from flowai.providers.failures import connection_error, explain_malformed, http_error, retry_after_s
from flowai.providers.openai.stream_parser import MalformedStreamError
from flowai.redaction import Redactor

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENDPOINT = Endpoint(
    name="mini", model="openai/gpt-4o-mini", provider="openai", api_base="http://user:pass@host:1/v1?k=x"
)


def refused(status: int, body: object = None, headers: dict[str, str] | None = None) -> CallError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http_error(
        status=status, headers=headers or {}, body=data, endpoint=ENDPOINT, now=NOW, redactor=Redactor(["planted-key"])
    )


def error(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


PAGE = b"<html><head><title>400 Bad Request</title></head></html>"

PROVIDER_S = {
    "DeepSeek, balance": (402, error("Insufficient Balance", code="invalid_request_error"), AuthError),
    "OpenRouter, credits": (
        402,
        error("This request requires more credits, or fewer max_tokens.", code=402),
        AuthError,
    ),
    "a conflict": (409, error("conflict"), ServerError),
    "nginx, too large": (413, b"<html>413 Request Entity Too Large</html>", InvalidRequestError),
    "Groq, too large": (
        413,
        error("Request too large for model `x` on tokens per minute (TPM)", code="rate_limit_exceeded"),
        InvalidRequestError,
    ),
    "OpenAI, too large for the account": (
        429,
        error("Request too large for gpt-4o on tokens per min (TPM): Limit 30000", code="rate_limit_exceeded"),
        InvalidRequestError,
    ),
    "Hugging Face, generation failed": (
        424,
        {"error": "Request failed during generation", "error_type": "x"},
        ServerError,
    ),
    "legal reasons": (451, error("unavailable"), AuthError),
    "Groq, capacity": (498, error("Flex tier capacity exceeded"), ServerError),
    "Groq, cancelled": (499, error("Request cancelled"), ServerError),
    "a page": (400, PAGE, ServerError),
    "an empty body": (400, b"", ServerError),
    "no words": (422, {}, ServerError),
    "a proxy that wants a password": (407, PAGE, ServerError),
    "Anthropic, credit": (
        400,
        error("Your credit balance is too low to access the Anthropic API.", type="invalid_request_error"),
        AuthError,
    ),
    "Anthropic, spending limit": (
        400,
        error("You have reached your specified API usage limits.", type="invalid_request_error"),
        AuthError,
    ),
    "OpenAI, quota": (429, error("You exceeded your current quota", code="insufficient_quota"), AuthError),
    "xAI, credit": (403, {"code": "x", "error": "Your newly created team doesn't have any credits yet."}, AuthError),
    "xAI, key": (
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: pl***ey."},
        AuthError,
    ),
    "Gemini, key": (
        400,
        [error("API key not valid. Please pass a valid API key.", code=400, status="INVALID_ARGUMENT")],
        AuthError,
    ),
    "Gemini, expired key": (400, error("API key expired. Please renew the API key.", code=400), AuthError),
    "Gemini, region": (
        400,
        error("User location is not supported for the API use.", code=400, status="FAILED_PRECONDITION"),
        AuthError,
    ),
    "OpenAI, region": (
        403,
        error("Country, region, or territory not supported", code="unsupported_country_region_territory"),
        AuthError,
    ),
    "Groq, retired": (
        400,
        error("The model `x` has been decommissioned and is no longer supported.", code="model_decommissioned"),
        ModelNotFoundError,
    ),
    "Mistral, model": (
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model"},
        ModelNotFoundError,
    ),
    "Ollama, model": (404, {"error": "model 'x' not found"}, ModelNotFoundError),
    "overloaded under 400": (400, error("try later", type="overloaded_error"), ServerError),
    "limited under 400": (400, error("slow down", code="rate_limit_exceeded"), RateLimitedError),
    "limited, Gemini": (429, error("quota exceeded for metric x", status="RESOURCE_EXHAUSTED"), RateLimitedError),
    "Anthropic, overloaded": (529, error("Overloaded", type="overloaded_error"), ServerError),
}
CALLER_S = {
    "OpenAI, parameter": (400, error("Invalid 'temperature'", type="invalid_request_error"), InvalidRequestError),
    "FastAPI, fields": (422, {"detail": [{"loc": ["body", "n"], "msg": "field required"}]}, InvalidRequestError),
    "a text for an error": (400, {"error": "messages is empty"}, InvalidRequestError),
    "a code alone": (400, error("", code="bad_request"), InvalidRequestError),
    "a method": (405, error("use POST"), InvalidRequestError),
    "a media type": (415, error("expected JSON"), InvalidRequestError),
    "OpenRouter, moderation": (
        403,
        error("your input was flagged", code=403, metadata={"reasons": ["violence"], "flagged_input": "x"}),
        ContentFilteredError,
    ),
    "xAI, guidelines": (403, {"code": "x", "error": "Content violates usage guidelines."}, ContentFilteredError),
    "Azure, filter": (
        400,
        error("The response was filtered", code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}),
        ContentFilteredError,
    ),
    "DashScope, inspection": (400, error("inappropriate", code="data_inspection_failed"), ContentFilteredError),
    "OpenAI, context": (400, error("too long", code="context_length_exceeded"), ContextTooLongError),
    "Anthropic, context": (400, error("prompt is too long: 210000 tokens > 200000 maximum"), ContextTooLongError),
    "Gemini, context": (
        400,
        error("The input token count (9) exceeds the maximum number of tokens allowed (8).", code=400),
        ContextTooLongError,
    ),
    "vLLM, context": (
        400,
        {"object": "error", "message": "maximum context length is 8192", "code": 400},
        ContextTooLongError,
    ),
}


@pytest.mark.parametrize("case", PROVIDER_S)
def test_a_refusal_of_the_provider_s_is_not_the_caller_s(case: str) -> None:
    status, body, kind = PROVIDER_S[case]
    caught = refused(status, body)
    assert type(caught) is kind
    assert caught.status == status
    assert caught.endpoint == "http://host:1/v1"
    assert "<" not in caught.what


@pytest.mark.parametrize("case", CALLER_S)
def test_a_refusal_that_speaks_of_the_request_is_the_caller_s(case: str) -> None:
    status, body, kind = CALLER_S[case]
    assert type(refused(status, body)) is kind


@pytest.mark.parametrize(
    "case", [name for name in PROVIDER_S if "credit" in name or "balance" in name or "quota" in name]
)
def test_an_empty_account_is_known_as_such(case: str) -> None:
    status, body, _ = PROVIDER_S[case]
    caught = refused(status, body)
    assert isinstance(caught, AuthError)
    assert caught.is_out_of_credit
    assert caught.hint == "the account has no credit or quota left: raise its limit with the provider"


def test_a_wrong_key_is_no_empty_account() -> None:
    caught = refused(401, error("Incorrect API key provided"))
    assert isinstance(caught, AuthError)
    assert not caught.is_out_of_credit


@pytest.mark.parametrize("status", [400, 404, 405, 406, 413, 414, 415, 422, 431])
def test_no_status_that_a_request_can_provoke_counts_in_the_breaker(status: int) -> None:
    assert not refused(status, PAGE).is_provider_fault


@pytest.mark.parametrize("status", [408, 409, 424, 425, 429, 498, 499, 500, 502, 503, 504, 520, 529])
def test_an_overloaded_or_failing_provider_counts(status: int) -> None:
    assert refused(status, PAGE).is_provider_fault


KEYS = st.sampled_from(
    ["error", "message", "code", "type", "status", "metadata", "reasons", "details", "innererror", "detail", "msg"]
)
BODIES = st.recursive(
    st.none() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=10,
)


@given(st.integers(400, 599), st.binary() | BODIES)
def test_any_refusal_is_a_call_error(status: int, body: object) -> None:
    caught = refused(status, body)
    assert caught.status == status
    assert len(caught.what) < 320


def test_a_secret_in_a_refusal_is_redacted() -> None:
    assert "planted-key" not in refused(400, error("the key planted-key is wrong")).what
    assert "planted-key" not in refused(500, b"no planted-key").what


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 300.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("Fri, 31 Feb 2026 00:00:00 GMT", None),
        ("1000000000", 300.0),
        ("1790000000", 300.0),
        ("1e300", 300.0),
        ("Fri, 31 Dec 2999 23:59:59 GMT", 300.0),
        ("7200", 7200.0),
        ("-0", 0.0),
        ("9" * 5000, None),
    ],
)
def test_an_absurd_retry_after_is_minutes_or_none(header: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": header}, NOW) == seconds


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ClientPayloadError", MalformedAnswerError),
        ("TooManyRedirects", MalformedAnswerError),
        ("ServerDisconnectedError", UnreachableError),
        ("ClientConnectorDNSError", UnreachableError),
        ("ClientConnectorError", UnreachableError),
    ],
)
def test_a_failure_of_the_connection_is_known_by_its_class_or_its_cause(name: str, kind: type[CallError]) -> None:
    link = type(name, (Exception,), {})("scripted")
    outer = RuntimeError("outer")
    outer.__cause__ = link
    for raised in (link, outer):
        caught = connection_error(raised, endpoint=ENDPOINT, elapsed_s=0.44, redactor=Redactor())
        assert type(caught) is kind
        assert caught.what.endswith(" at host:1 after 0.4 s")


def test_a_timeout_is_one_and_an_unknown_exception_is_not_ours() -> None:
    late = connection_error(TimeoutError(), endpoint=ENDPOINT, elapsed_s=1, redactor=Redactor())
    assert type(late) is TimedOutError
    assert connection_error(RuntimeError("a bug"), endpoint=ENDPOINT, elapsed_s=1, redactor=Redactor()) is None


@pytest.mark.parametrize(
    ("body", "kind", "is_fault"),
    [
        ({"code": 402, "message": "Insufficient credits"}, AuthError, False),
        ({"code": 413, "message": "too large"}, ServerError, False),
        ({"code": 429, "message": "slow down"}, RateLimitedError, True),
        ({"code": 502, "message": "upstream"}, ServerError, True),
        ({"code": 400, "message": "bad"}, InvalidRequestError, False),
        ({"code": 403, "message": "flagged", "metadata": {"reasons": ["x"]}}, ContentFilteredError, False),
        ({"type": "overloaded_error", "message": "Overloaded"}, ServerError, True),
        ({"type": "invalid_request_error", "message": "bad"}, InvalidRequestError, True),
    ],
)
def test_an_error_object_inside_a_stream_is_judged_alike(
    body: dict[str, Any], kind: type[CallError], *, is_fault: bool
) -> None:
    caught = explain_malformed(MalformedStreamError("x", body=body), endpoint=ENDPOINT, redactor=Redactor())
    assert type(caught) is kind
    assert caught.status is None
    assert caught.is_provider_fault == is_fault
    assert getattr(caught, "is_out_of_credit", False) == (body.get("code") == 402)


@pytest.mark.parametrize("quoted", ["API key not valid", "credit balance is too low", "model `x` does not exist"])
def test_a_parameter_that_quotes_another_failure_is_the_caller_s(quoted: str) -> None:
    caught = refused(400, error(f"Invalid value: '{quoted}'", param="tools[0].name"))
    assert type(caught) is InvalidRequestError
