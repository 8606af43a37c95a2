"""Failures that no HTTP server can play: what LiteLLM says by itself, and headers in odd shapes."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.errors import (
    AuthError,
    CallError,
    ContentFilteredError,
    InvalidRequestError,
    ServerError,
    TimedOutError,
    UnreachableError,
)
from flowai.providers import Endpoint
from flowai.providers.failures import retry_after_s, shown_address
from flowai.providers.litellm.errors import translate
from flowai.redaction import Redactor

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENDPOINT = Endpoint(name="mini", model="openai/gpt-4o-mini", provider="openai")


def translated(error: BaseException, endpoint: Endpoint = ENDPOINT) -> CallError:
    return translate(error, endpoint=endpoint, elapsed_s=0.44, now=NOW, redactor=Redactor())


def like_litellm(name: str, message: str, status: int | None = None) -> Exception:
    """An exception as LiteLLM makes them; only the name, the message and the status matter."""
    error: Exception = type(name, (Exception,), {"__module__": "litellm.exceptions"})(message)
    if status is not None:
        error.status_code = status  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Fri, 02 Jan 2026 03:04:35 GMT"}, 30.0),
        ({"retry-after": "Fri, 02 Jan 2026 03:04:35"}, 30.0),
        ({"retry-after": "Fri, 02 Jan 2026 02:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


@given(st.text())
def test_retry_after_is_never_negative_and_never_fails(value: str) -> None:
    seconds = retry_after_s({"retry-after": value}, NOW)
    assert seconds is None or seconds >= 0


def test_a_wrong_key_answered_with_400_is_an_authentication_error() -> None:
    error = like_litellm("AuthenticationError", "litellm.AuthenticationError: GeminiException - API key not valid", 400)
    caught = translated(error)
    assert type(caught) is AuthError
    assert caught.what == "400: API key not valid"
    assert caught.hint == "check the `api_key` of model `mini`, and that it may use this model"


@pytest.mark.parametrize(
    ("name", "status", "quoted", "kind"),
    [
        ("BadRequestError", 400, '{"type":"error","error":{"message":"Your credit balance is too low"}}', AuthError),
        ("APIError", 403, '{"error":{"message":"no","code":403,"metadata":{"reasons":["x"]}}}', ContentFilteredError),
        ("BadRequestError", 400, '{"error":{"message":"bad value"}}', InvalidRequestError),
        ("BadRequestError", 400, '{"a": 1}', InvalidRequestError),
        ("BadRequestError", 400, "{", InvalidRequestError),
    ],
)
def test_an_error_object_that_litellm_quotes_counts(name: str, status: int, quoted: str, kind: type[CallError]) -> None:
    caught = translated(like_litellm(name, f"litellm.{name}: SomeException - {quoted}", status))
    assert type(caught) is kind
    assert caught.status == status


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (like_litellm("ContentPolicyViolationError", "no", 400), ContentFilteredError),
        (like_litellm("BadRequestError", "LLM Provider NOT provided", 400), InvalidRequestError),
        (like_litellm("Timeout", "too late", 408), TimedOutError),
        (like_litellm("ServiceUnavailableError", "busy", 503), ServerError),
        (like_litellm("APIConnectionError", "something broke"), ServerError),
    ],
)
def test_without_an_http_response_litellm_s_error_class_counts(error: Exception, kind: type[CallError]) -> None:
    assert type(translated(error)) is kind


def test_an_unknown_host_is_unreachable() -> None:
    error = like_litellm("InternalServerError", "Connection error.", 500)
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    endpoint = Endpoint(
        name="m", model="openai/m", provider="p", api_base="http://user:pass@nowhere.invalid:81/v1?key=x"
    )
    caught = translated(error, endpoint)
    assert type(caught) is UnreachableError
    assert caught.what == "no such host at nowhere.invalid:81 after 0.4 s"
    assert caught.status is None
    assert caught.endpoint == "http://nowhere.invalid:81/v1"


def test_a_long_error_body_is_cut() -> None:
    assert len(translated(like_litellm("APIError", "x" * 10_000, 500)).what) < 320


def test_an_address_is_shown_without_credentials() -> None:
    assert shown_address("https://user:secret@host:1/v1?api-key=secret#x") == "https://host:1/v1"
    assert shown_address(None) is None
