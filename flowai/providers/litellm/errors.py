"""Converts LiteLLM's exceptions into CallErrors with the kind of failure and the provider's own reason.

LiteLLM's classes are not reliable: a refused connection is an InternalServerError with an invented status 500, a 403 a
bare APIError, and a content-policy rejection a bad request.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
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
    ServerError,
    TimedOutError,
    UnreachableError,
)
from flowai.providers.openai.tool_calls import MAX_TOOL_CALLS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from flowai.providers.client import Endpoint
    from flowai.providers.openai.stream_parser import MalformedStreamError
    from flowai.redaction import Redactor

MAX_REASON_CHARS = 300  # some providers answer with a web page

CONTEXT_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
FILTER_CODES = frozenset(
    {"content_filter", "content_policy_violation", "moderation_blocked", "responsible_ai_policy_violation"}
)

# LiteLLM's classes that are more specific than the status: several providers answer 400 to a wrong key.
SPECIFIC_ERROR_CLASSES: dict[str, type[CallError]] = {
    "ContextWindowExceededError": ContextTooLongError,
    "ContentPolicyViolationError": ContentFilteredError,
    "AuthenticationError": AuthError,
    "PermissionDeniedError": AuthError,
    "RateLimitError": RateLimitedError,
    "NotFoundError": ModelNotFoundError,
}
STATUSES: dict[int, type[CallError]] = {
    401: AuthError,
    403: AuthError,
    404: ModelNotFoundError,
    408: TimedOutError,
    410: ModelNotFoundError,
    425: ServerError,
    429: RateLimitedError,
    501: InvalidRequestError,
}
# Reasons of servers without error codes; LiteLLM knows them too, if the status is 400.
CONTEXT_PATTERN = re.compile("maximum context length|context window|context size|prompt is too long", re.IGNORECASE)
# Types of an error object inside a stream; any other is a ServerError.
STREAM_ERROR_TYPES: dict[str, type[CallError]] = {
    "rate_limit_error": RateLimitedError,
    "rate_limit_exceeded": RateLimitedError,
    "insufficient_quota": RateLimitedError,
    "invalid_request_error": InvalidRequestError,
    "authentication_error": AuthError,
}

# Exceptions of Python, aiohttp and httpx that cause LiteLLM's when no HTTP answer came; the first match counts.
TRANSPORT_ERRORS: tuple[tuple[frozenset[str], type[CallError], str], ...] = (
    (
        frozenset({"ClientPayloadError", "TransferEncodingError", "ContentLengthError"}),
        MalformedAnswerError,
        "the answer broke off",
    ),
    (frozenset({"BadHttpMessage", "ClientResponseError"}), MalformedAnswerError, "the answer is not HTTP"),
    (
        frozenset({"TooManyRedirects", "NonHttpUrlClientError", "InvalidURL"}),
        MalformedAnswerError,
        "the address is invalid or redirects too often",
    ),
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
INVALID_RESPONSE_TEXT = "Empty or invalid response from LLM endpoint"  # LiteLLM's message about a malformed body

HINTS: dict[type[CallError], str] = {
    RateLimitedError: "send fewer requests at a time (`--max-concurrency`), or wait",
    TimedOutError: "raise the feature's `timeout`, or try again",
    AuthError: "check the `api_key` of model `{name}`, and that it may use this model",
    ModelNotFoundError: "check `model` and `api_base` of model `{name}`",
    ContextTooLongError: "shorten the input, or use a model with a larger context",
    InvalidRequestError: "check the parameters of model `{name}`",
}

_LITELLM_PREFIX = re.compile(r"^(?:litellm\.)?(?:\w+(?:Error|Exception|Timeout)\b\s*(?:-|:)\s*)+")
_TAGS = re.compile(r"<[^<>]{0,200}>")


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorSources:
    """The provider's answer, extracted from an exception and its causes."""

    chain: tuple[BaseException, ...]
    """The exception, then its causes."""
    names: tuple[str, ...]
    """Class names of the exception and its bases."""
    status: int | None
    """HTTP status; None when no answer came."""
    headers: Mapping[str, str]
    """Lower-case names."""
    body: Mapping[str, Any]
    """Error object of the answer or of the stream; empty without one."""

    @property
    def codes(self) -> set[str]:
        """The machine-readable codes of the error object."""
        return {_field_as_text(self.body.get(key)) for key in ("code", "type")} - {""}


def translate(
    error: BaseException, *, endpoint: Endpoint, elapsed_s: float, now: datetime, redactor: Redactor
) -> CallError:
    """Convert an exception of LiteLLM into a CallError; raise it from None: LiteLLM's traceback may show keys.

    Args:
        error: the exception.
        endpoint: the endpoint of the call.
        elapsed_s: time since the request was sent, >= 0.
        now: the time, with its zone; a Retry-After date is relative to it.
        redactor: removes secrets from the provider's reason.
    """
    sources = _sources(error)
    kind, what = _kind(sources, endpoint, elapsed_s)
    return _build_error(
        kind, what or _reason(sources), sources, endpoint, redactor, retry_after_s(sources.headers, now)
    )


def explain_malformed(error: MalformedStreamError, *, endpoint: Endpoint, redactor: Redactor) -> CallError:
    """Convert the error of a malformed answer: an error object after status 200, or bytes that are not an answer."""
    sources = ErrorSources(chain=(), names=(), status=None, headers={}, body=error.body or {})
    kind = MalformedAnswerError if error.body is None else _kind(sources, endpoint, 0.0)[0]
    return _build_error(kind, _clean(error.what), sources, endpoint, redactor, None)


def _build_error(
    kind: type[CallError],
    what: str,
    sources: ErrorSources,
    endpoint: Endpoint,
    redactor: Redactor,
    wait_s: float | None,
) -> CallError:
    hint = HINTS.get(kind)
    if kind is UnreachableError and endpoint.api_base is not None:
        hint = "check that it runs, and the `api_base` of model `{name}`"
    if sources.codes & {"insufficient_quota"}:
        hint = "the account has no quota left: raise its limit with the provider"
    return kind(
        _shorten(redactor.text(what)),  # redacted first: a part of a key would not be recognised
        provider=endpoint.provider,
        model=endpoint.name,
        status=sources.status,
        retry_after_s=wait_s,
        endpoint=shown_address(endpoint.api_base),
        hint=hint.format(name=endpoint.name) if hint else None,
    )


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
            return max(0.0, seconds)
    return None


def _until(date: str, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)).timestamp() - now.timestamp()


def _sources(error: BaseException) -> ErrorSources:
    chain = tuple(_causes(error))
    answered = next((link for link in chain if _has_http_answer(link)), None)
    response = getattr(answered, "response", None)
    headers = getattr(response, "headers", None) or getattr(error, "litellm_response_headers", None) or {}
    bodies = (getattr(link, "body", None) for link in chain)
    body: Mapping[str, Any] = next((found for found in bodies if isinstance(found, dict)), {})
    status = getattr(response, "status_code", None)
    return ErrorSources(
        chain=chain,
        names=tuple(base.__name__ for base in type(error).__mro__),
        status=status if isinstance(status, int) else _http_status(error, chain),
        headers={str(key).lower(): str(value) for key, value in dict(headers).items()},
        body=body,
    )


def _causes(error: BaseException) -> list[BaseException]:
    """Return an exception and its causes, without an earlier FlowaiError that was being handled."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and not isinstance(link, FlowaiError) and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def _has_http_answer(link: BaseException) -> bool:
    """Return whether an exception has a real HTTP answer; LiteLLM invents some for its own exceptions."""
    response = getattr(link, "response", None)
    return hasattr(response, "status_code") and not type(link).__module__.startswith("litellm")


def _http_status(error: BaseException, chain: tuple[BaseException, ...]) -> int | None:
    """Return LiteLLM's status, unless a failure of the connection or the body explains the error."""
    status = getattr(error, "status_code", None)
    if not isinstance(status, int) or "MidStreamFallbackError" in {type(link).__name__ for link in chain}:
        return None
    if "InternalServerError" in {type(link).__name__ for link in chain} or _is_transport(chain):
        return None
    return status


def _is_transport(chain: tuple[BaseException, ...]) -> bool:
    return any(isinstance(link, OSError | json.JSONDecodeError) for link in chain)


def _kind(sources: ErrorSources, endpoint: Endpoint, elapsed_s: float) -> tuple[type[CallError], str | None]:
    """Return the error class, and a reason where it is better than the provider's."""
    if sources.codes & CONTEXT_CODES or "ContextWindowExceededError" in sources.names:
        return ContextTooLongError, _context_reason(sources)
    if sources.codes & FILTER_CODES:
        return ContentFilteredError, None
    if sources.status is None:
        kind, what = _transport_error(sources, endpoint, elapsed_s)
        if kind is not None:
            return kind, what
    for name in sources.names:
        if name in SPECIFIC_ERROR_CLASSES:
            return SPECIFIC_ERROR_CLASSES[name], None
    return _by_status(sources.status), None


def _by_status(status: int | None) -> type[CallError]:
    if status is None:
        return ServerError
    client_side = 400 <= status < 500  # noqa: PLR2004 - HTTP's own classes
    return STATUSES.get(status, InvalidRequestError if client_side else ServerError)


def _transport_error(
    sources: ErrorSources, endpoint: Endpoint, elapsed_s: float
) -> tuple[type[CallError] | None, str | None]:
    """Classify a call without an HTTP answer, or one that broke off, by the causes of LiteLLM's exception."""
    if sources.body:  # an error object inside a stream with status 200
        return _stream_error(sources), None
    for link in sources.chain:
        if isinstance(link, json.JSONDecodeError):
            return MalformedAnswerError, f"the answer is not JSON: {link.msg} at column {link.colno}"
    if INVALID_RESPONSE_TEXT in str(sources.chain[0]):
        return MalformedAnswerError, "the answer does not have OpenAI's format"
    names = {base.__name__ for link in sources.chain for base in type(link).__mro__}
    for class_names, kind, description in TRANSPORT_ERRORS:
        if names & class_names:
            return kind, f"{description} at {_host(sources, endpoint)} after {elapsed_s:.1f} s"
    return None, None


def _stream_error(sources: ErrorSources) -> type[CallError]:
    code = _field_as_text(sources.body.get("code"))
    if CONTEXT_PATTERN.search(_field_as_text(sources.body.get("message"))):
        return ContextTooLongError
    if re.fullmatch("[45][0-9][0-9]", code):
        return _by_status(int(code))
    return next((STREAM_ERROR_TYPES[name] for name in sources.codes if name in STREAM_ERROR_TYPES), ServerError)


def _field_as_text(value: object) -> str:
    """Return a text or a number as text; a number may have thousands of digits."""
    if isinstance(value, int) and abs(value) < MAX_TOOL_CALLS:
        return str(value)
    return value if isinstance(value, str) else ""


def _host(sources: ErrorSources, endpoint: Endpoint) -> str:
    if endpoint.api_base is not None:
        return urlsplit(endpoint.api_base).netloc.rpartition("@")[2]
    for link in sources.chain:
        host = getattr(link, "host", None)
        if isinstance(host, str):
            return f"{host}:{getattr(link, 'port', '')}".rstrip(":")
    return endpoint.provider


def _context_reason(sources: ErrorSources) -> str | None:
    """Return a reason with both lengths if the server reports them (llama.cpp does)."""
    request_tokens, max_tokens = sources.body.get("n_prompt_tokens"), sources.body.get("n_ctx")
    if request_tokens is None or max_tokens is None:
        return None
    return f"the request has {request_tokens} tokens; the model's context holds {max_tokens}"


def _reason(sources: ErrorSources) -> str:
    """Return the message of the provider's error object, else LiteLLM's message without its prefixes."""
    message = sources.body.get("message")
    text = _clean(message if isinstance(message, str) and message else str(sources.chain[0]))
    if not text:
        text = "no reason given"
    return text if sources.status is None else f"{sources.status}: {text}"


def _clean(text: str) -> str:
    first = _LITELLM_PREFIX.sub("", text.strip())
    return " ".join(_TAGS.sub(" ", first).split())


def _shorten(line: str) -> str:
    return line if len(line) <= MAX_REASON_CHARS else f"{line[: MAX_REASON_CHARS - 1]}…"
