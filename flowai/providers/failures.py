"""Builds the CallError of a failed call: from an HTTP answer, a connection, a malformed answer or a time limit.

Texts of providers are redacted and cut. Raise each error from None: a traceback may show keys.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flowai.errors import (
    AuthError,
    CallError,
    ContentFilteredError,
    ContextTooLongError,
    FlowaiError,
    InvalidRequestError,
    MalformedAnswerError,
    ModelNotFoundError,
    RateLimitedError,
    TimedOutError,
    UnreachableError,
)
from flowai.providers.failure_rules import (
    ErrorAnswer,
    decode_error_object,
    is_out_of_credit,
    is_provider_fault,
    kind_by_status,
    specific_kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from flowai.providers.client import Endpoint, Request
    from flowai.providers.openai.stream_parser import MalformedStreamError
    from flowai.redaction import Redactor

MAX_REASON_CHARS = 300  # some providers answer with a web page
MAX_PLAUSIBLE_RETRY_AFTER_S = 86_400.0
"""A longer wait is a mistake of the provider: a date in another unit, a Unix time."""
IMPLAUSIBLE_RETRY_AFTER_S = 300.0
"""Wait in place of an implausible one."""

# Exceptions of Python, aiohttp and httpx when no HTTP answer came, or one that broke off; the first match counts.
CONNECTION_ERRORS: tuple[tuple[frozenset[str], type[CallError], str], ...] = (
    (
        frozenset({"ClientPayloadError", "TransferEncodingError", "ContentLengthError"}),
        MalformedAnswerError,
        "the answer broke off",
    ),
    (
        frozenset({"TooManyRedirects", "NonHttpUrlClientError", "InvalidURL"}),
        MalformedAnswerError,
        "the address is invalid or redirects too often",
    ),
    (frozenset({"BadHttpMessage", "ClientResponseError"}), MalformedAnswerError, "the answer is not HTTP"),
    (frozenset({"UnicodeDecodeError"}), MalformedAnswerError, "the answer is not UTF-8"),
    (frozenset({"TimeoutError", "TimeoutException", "Timeout"}), TimedOutError, "timed out"),
    (frozenset({"ConnectionRefusedError"}), UnreachableError, "connection refused"),
    (frozenset({"gaierror", "ClientConnectorDNSError"}), UnreachableError, "no such host"),
    (frozenset({"ServerDisconnectedError"}), UnreachableError, "connection closed without an answer"),
    (frozenset({"RemoteProtocolError"}), MalformedAnswerError, "the answer broke off"),
    (frozenset({"ConnectionResetError", "ReadError", "BrokenPipeError"}), UnreachableError, "connection reset"),
    (
        frozenset({"ConnectError", "NetworkError", "ClientOSError", "ClientConnectorError"}),
        UnreachableError,
        "cannot connect",
    ),
)

HINTS: dict[type[CallError], str] = {
    RateLimitedError: "send fewer requests at a time (`--max-concurrency`), or wait",
    TimedOutError: "raise the feature's `timeout`, or try again",
    AuthError: "check the `api_key` of model `{name}`, and that it may use this model",
    ModelNotFoundError: "check `model` and `api_base` of model `{name}`",
    ContextTooLongError: "shorten the input, or use a model with a larger context",
    InvalidRequestError: "check the parameters of model `{name}`",
}

CREDIT_HINT = "the account has no credit or quota left: raise its limit with the provider"

_TAGS = re.compile(r"<[^<>]{0,200}>")


def http_error(
    *,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    endpoint: Endpoint,
    now: datetime,
    redactor: Redactor,
) -> CallError:
    """Build the error of an HTTP answer.

    Args:
        status: its status; any but 200.
        headers: names in any case.
        body: its body, as far as it came.
        endpoint: the endpoint of the call.
        now: the time, with its zone; a Retry-After date is relative to it.
        redactor: removes secrets from the provider's reason.
    """
    answer = ErrorAnswer(
        status=status,
        headers={name.lower(): value for name, value in headers.items()},
        error=decode_error_object(body),
    )
    return answered_error(
        specific_kind(answer) or kind_by_status(answer),
        answer,
        body[: 4 * MAX_REASON_CHARS].decode(errors="replace"),
        endpoint=endpoint,
        now=now,
        redactor=redactor,
    )


def answered_error(
    kind: type[CallError], answer: ErrorAnswer, text: str, *, endpoint: Endpoint, now: datetime, redactor: Redactor
) -> CallError:
    """Build an error of a known class; `text` is the reason if the error object has none."""
    reason = (_context_reason(answer) if kind is ContextTooLongError else None) or _reason(answer, text)
    return build_error(kind, reason, answer, endpoint, redactor, retry_after_s(answer.headers, now))


def connection_error(
    error: BaseException, *, endpoint: Endpoint, elapsed_s: float, redactor: Redactor
) -> CallError | None:
    """Build the error of a call without an HTTP answer, or of one that broke off; None for an unknown exception.

    Args:
        error: an exception of Python, aiohttp or httpx; its causes count too.
        endpoint: the endpoint of the call.
        elapsed_s: time since the request was sent, >= 0.
        redactor: removes secrets.
    """
    chain = causes(error)
    for link in chain:
        if isinstance(link, json.JSONDecodeError):
            what = f"the answer is not JSON: {link.msg} at column {link.colno}"
            return build_error(MalformedAnswerError, what, ErrorAnswer(), endpoint, redactor, None)
    names = {base.__name__ for link in chain for base in type(link).__mro__}
    for class_names, kind, description in CONNECTION_ERRORS:
        if names & class_names:
            what = f"{description} at {_host(chain, endpoint)} after {elapsed_s:.1f} s"
            return build_error(kind, what, ErrorAnswer(), endpoint, redactor, None)
    return None


def explain_malformed(error: MalformedStreamError, *, endpoint: Endpoint, redactor: Redactor) -> CallError:
    """Convert the error of a malformed answer: an error object after status 200, or bytes that are not an answer."""
    answer = ErrorAnswer(error=error.body or {})
    kind = MalformedAnswerError if error.body is None else specific_kind(answer) or kind_by_status(answer)
    failure = build_error(kind, clean(error.what), answer, endpoint, redactor, None)
    failure.is_provider_fault = not error.is_complete and is_provider_fault(answer.stream_status)
    return failure


def build_error(
    kind: type[CallError],
    what: str,
    answer: ErrorAnswer,
    endpoint: Endpoint,
    redactor: Redactor,
    wait_s: float | None,
) -> CallError:
    """Build an error with its hint and address; the reason is redacted and cut."""
    hint = HINTS.get(kind)
    if kind is UnreachableError and endpoint.api_base is not None:
        hint = "check that it runs, and the `api_base` of model `{name}`"
    if kind is AuthError and is_out_of_credit(answer):
        hint = CREDIT_HINT
    error = kind(
        _shorten(redactor.text(what)),  # redacted first: a part of a key would not be recognised
        provider=endpoint.provider,
        model=endpoint.name,
        status=answer.status,
        retry_after_s=wait_s,
        endpoint=shown_address(endpoint.api_base),
        hint=hint.format(name=endpoint.name) if hint else None,
    )
    error.is_provider_fault = is_provider_fault(answer.status)
    if isinstance(error, AuthError):
        error.is_out_of_credit = is_out_of_credit(answer)
    return error


def stalled_error(request: Request, *, has_started: bool) -> TimedOutError:
    """Build the error of a silent provider: nothing, or nothing more, came within `first_token_timeout_s`."""
    what = "the answer stalled: nothing more came" if has_started else "no first token"
    return deadline_error(request.endpoint, what, request.first_token_timeout_s)


def deadline_error(endpoint: Endpoint, what: str, limit_s: float, *, was_streaming: bool = False) -> TimedOutError:
    """Build the error of a call at its deadline; `was_streaming`: the limit is the cause, not the provider."""
    address = shown_address(endpoint.api_base)
    error = TimedOutError(
        f"{what} within {limit_s:g} s" + (f" from {address}" if address else ""),
        provider=endpoint.provider,
        model=endpoint.name,
        endpoint=address,
        hint=HINTS[TimedOutError],
    )
    error.is_provider_fault = not was_streaming
    return error


def malformed_error(endpoint: Endpoint, what: str, *, is_complete: bool = False) -> MalformedAnswerError:
    """Build the error of an answer that broke off or violates the protocol; `is_complete`: the model ended it so."""
    error = MalformedAnswerError(
        what, provider=endpoint.provider, model=endpoint.name, endpoint=shown_address(endpoint.api_base)
    )
    error.is_provider_fault = not is_complete
    return error


def unbuildable_error(endpoint: Endpoint, what: str, *, hint: str | None = None) -> InvalidRequestError:
    """Build the error of a request that could not be built: nothing was sent, and the provider is not to blame."""
    error = InvalidRequestError(
        _shorten(f"the request cannot be built: {what}"), provider=endpoint.provider, model=endpoint.name, hint=hint
    )
    error.is_provider_fault = error.was_tried = False
    return error


@contextmanager
def building_request(endpoint: Endpoint, redactor: Redactor) -> Iterator[None]:
    """Convert every exception of code that builds a request: its values are the cause, whatever the type."""
    try:
        yield
    except FlowaiError:
        raise
    except Exception as error:  # noqa: BLE001 - values of callers can break the code in any way
        raise unbuildable_error(endpoint, redactor.text(clean(f"{type(error).__name__}: {error}"))) from None


def content_filtered_error(endpoint: Endpoint, what: str) -> ContentFilteredError:
    """Build the error of an answer that the provider's policy withheld or cut off."""
    return ContentFilteredError(what, provider=endpoint.provider, model=endpoint.name)


def shown_address(api_base: str | None) -> str | None:
    """Return an address without credentials and query."""
    if api_base is None:
        return None
    parts = urlsplit(api_base)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the back-off that the provider asks for, >= 0; None without a valid header.

    Args:
        headers: of the answer, lower-case names.
        now: the time, with its zone.

    Source:
        RFC 9110, section 10.2.3 (seconds or a date); `retry-after-ms` as OpenAI and Azure send it.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit_s
        except ValueError:
            seconds = _until(value, now)
        if math.isfinite(seconds):
            return IMPLAUSIBLE_RETRY_AFTER_S if seconds > MAX_PLAUSIBLE_RETRY_AFTER_S else max(0.0, seconds)
    return None


def causes(error: BaseException) -> tuple[BaseException, ...]:
    """Return an exception and its causes, without an earlier FlowaiError that was being handled."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and not isinstance(link, FlowaiError) and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return tuple(chain)


def clean(text: str) -> str:
    """Return a text on one line, without tags."""
    return " ".join(_TAGS.sub(" ", text).split())


def _until(date: str, now: datetime) -> float:
    """Return the seconds until a date; a date that no calendar has is none."""
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)).timestamp() - now.timestamp()
    except (ValueError, OverflowError, OSError):
        return math.nan


def _host(chain: tuple[BaseException, ...], endpoint: Endpoint) -> str:
    if endpoint.api_base is not None:
        return urlsplit(endpoint.api_base).netloc.rpartition("@")[2]
    for link in chain:
        host = getattr(link, "host", None)
        if isinstance(host, str):
            return f"{host}:{getattr(link, 'port', '')}".rstrip(":")
    return endpoint.provider


def _context_reason(answer: ErrorAnswer) -> str | None:
    """Return a reason with both lengths if the server reports them (llama.cpp does)."""
    request_tokens, max_tokens = answer.error.get("n_prompt_tokens"), answer.error.get("n_ctx")
    if request_tokens is None or max_tokens is None:
        return None
    return f"the request has {request_tokens} tokens; the model's context holds {max_tokens}"


def _reason(answer: ErrorAnswer, text: str) -> str:
    """Return the message of the error object, else the text, with the status."""
    reason = clean(answer.message or text) or "no reason given"
    return reason if answer.status is None else f"{answer.status}: {reason}"


def _shorten(line: str) -> str:
    return line if len(line) <= MAX_REASON_CHARS else f"{line[: MAX_REASON_CHARS - 1]}…"
