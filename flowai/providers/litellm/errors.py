"""Turns what LiteLLM raises into our errors: which kind of failure, and what the provider really said.

LiteLLM's own words cannot be taken as they are: a refused connection arrives as its InternalServerError with an
invented status 500, a 403 as a bare APIError, and a content-policy rejection as a bad request.
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

MAX_REASON = 300  # characters of the provider's words; some answer with a whole web page

CONTEXT_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
FILTER_CODES = frozenset(
    {"content_filter", "content_policy_violation", "moderation_blocked", "responsible_ai_policy_violation"}
)

# The classes of LiteLLM whose name says more than the status: several providers answer 400 to a wrong key.
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
# How servers without codes of their own say it; LiteLLM knows the words too, where the status is 400.
CONTEXT_WORDS = re.compile("maximum context length|context window|context size|prompt is too long", re.IGNORECASE)
# What an error object inside a stream says of itself; anything else there is the provider's failure.
STREAM_ERROR_TYPES: dict[str, type[CallError]] = {
    "rate_limit_error": RateLimitedError,
    "rate_limit_exceeded": RateLimitedError,
    "insufficient_quota": RateLimitedError,
    "invalid_request_error": InvalidRequestError,
    "authentication_error": AuthError,
}

# Exceptions of Python, aiohttp and httpx that lie beneath LiteLLM's when no HTTP answer came; the first match counts.
WRAPPED_EXCEPTIONS: tuple[tuple[frozenset[str], type[CallError], str], ...] = (
    (
        frozenset({"ClientPayloadError", "TransferEncodingError", "ContentLengthError"}),
        MalformedAnswerError,
        "the answer broke off",
    ),
    (frozenset({"BadHttpMessage", "ClientResponseError"}), MalformedAnswerError, "the answer is not HTTP"),
    (
        frozenset({"TooManyRedirects", "NonHttpUrlClientError", "InvalidURL"}),
        MalformedAnswerError,
        "the address leads nowhere",
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
NO_ANSWER_OF_THE_KIND = "Empty or invalid response from LLM endpoint"  # LiteLLM's words for a body it cannot read

HINTS: dict[type[CallError], str] = {
    RateLimitedError: "ask for less at a time (`--max-concurrency`), or wait",
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
    """What the provider said, dug out of an exception and its causes."""

    chain: tuple[BaseException, ...]
    """The exception, then its causes."""
    names: tuple[str, ...]
    """Class names of the exception and its bases."""
    status: int | None
    """HTTP status; None when no answer came."""
    headers: Mapping[str, str]
    """Of the answer, lower-case names."""
    body: Mapping[str, Any]
    """The error object of the answer or of the stream; empty when there was none."""

    @property
    def codes(self) -> set[str]:
        """The machine-readable words of the error object."""
        return {_field_as_text(self.body.get(key)) for key in ("code", "type")} - {""}


def translate(
    error: BaseException, *, endpoint: Endpoint, elapsed_s: float, now: datetime, redactor: Redactor
) -> CallError:
    """Give our error for an exception that came out of LiteLLM.

    Args:
        error: the exception.
        endpoint: who was asked.
        elapsed_s: since the request was sent, >= 0.
        now: the time, with its zone; a Retry-After that is a date counts from it.
        redactor: takes secrets out of the provider's words.

    Returns:
        The CallError, to be raised from None: LiteLLM's traceback may show keys.
    """
    sources = _sources(error)
    kind, what = _kind(sources, endpoint, elapsed_s)
    return _build_error(
        kind, what or _reason(sources), sources, endpoint, redactor, retry_after_s(sources.headers, now)
    )


def explain(broken: MalformedStreamError, *, endpoint: Endpoint, redactor: Redactor) -> CallError:
    """Give our error for an answer that began well and was none: an error object in it, or bytes that are no answer.

    Args:
        broken: what was wrong with it.
        endpoint: who was asked.
        redactor: takes secrets out of the provider's words.
    """
    sources = ErrorSources(chain=(), names=(), status=None, headers={}, body=broken.body or {})
    kind = MalformedAnswerError if broken.body is None else _kind(sources, endpoint, 0.0)[0]
    return _build_error(kind, _clean(broken.what), sources, endpoint, redactor, None)


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
        _cut(redactor.text(what)),  # in this order: half of a key would not be recognised
        provider=endpoint.provider,
        model=endpoint.name,
        status=sources.status,
        retry_after_s=wait_s,
        endpoint=shown_address(endpoint.api_base),
        hint=hint.format(name=endpoint.name) if hint else None,
    )


def shown_address(api_base: str | None) -> str | None:
    """Give an address without credentials and query."""
    if api_base is None:
        return None
    parts = urlsplit(api_base)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read how long the provider asks us to stay away.

    Args:
        headers: of the answer, lower-case names.
        now: the time, with its zone.

    Returns:
        Seconds, >= 0; None when it does not say, or not in a way that can be read.

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
        then = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    return (then if then.tzinfo else then.replace(tzinfo=now.tzinfo)).timestamp() - now.timestamp()


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
    """Follow an exception down to what began it, but not into an earlier failure that was being handled meanwhile."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and not isinstance(link, FlowaiError) and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def _has_http_answer(link: BaseException) -> bool:
    """Tell a real HTTP answer from the ones LiteLLM makes up for its own exceptions."""
    response = getattr(link, "response", None)
    return hasattr(response, "status_code") and not type(link).__module__.startswith("litellm")


def _http_status(error: BaseException, chain: tuple[BaseException, ...]) -> int | None:
    """Take LiteLLM's word for the status where no failure of the connection or the body explains it."""
    status = getattr(error, "status_code", None)
    if not isinstance(status, int) or "MidStreamFallbackError" in {type(link).__name__ for link in chain}:
        return None
    if "InternalServerError" in {type(link).__name__ for link in chain} or _is_transport(chain):
        return None
    return status


def _is_transport(chain: tuple[BaseException, ...]) -> bool:
    return any(isinstance(link, OSError | json.JSONDecodeError) for link in chain)


def _kind(sources: ErrorSources, endpoint: Endpoint, elapsed_s: float) -> tuple[type[CallError], str | None]:
    """Decide the kind; the second value replaces the provider's words where ours say more."""
    if sources.codes & CONTEXT_CODES or "ContextWindowExceededError" in sources.names:
        return ContextTooLongError, _context_reason(sources)
    if sources.codes & FILTER_CODES:
        return ContentFilteredError, None
    if sources.status is None:
        kind, what = _without_an_answer(sources, endpoint, elapsed_s)
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


def _without_an_answer(
    sources: ErrorSources, endpoint: Endpoint, elapsed_s: float
) -> tuple[type[CallError] | None, str | None]:
    """Explain a call that got no HTTP answer, or one that broke off, from the exceptions beneath LiteLLM's."""
    if sources.body:  # an error object inside a stream that began well
        return _stream_error(sources), None
    for link in sources.chain:
        if isinstance(link, json.JSONDecodeError):
            return MalformedAnswerError, f"the answer is not JSON: {link.msg} at column {link.colno}"
    if NO_ANSWER_OF_THE_KIND in str(sources.chain[0]):
        return MalformedAnswerError, "the answer is not what an OpenAI-compatible endpoint gives"
    names = {base.__name__ for link in sources.chain for base in type(link).__mro__}
    for marks, kind, words in WRAPPED_EXCEPTIONS:
        if names & marks:
            return kind, f"{words} at {_host(sources, endpoint)} after {elapsed_s:.1f} s"
    return None, None


def _stream_error(sources: ErrorSources) -> type[CallError]:
    code = _field_as_text(sources.body.get("code"))
    if CONTEXT_WORDS.search(_field_as_text(sources.body.get("message"))):
        return ContextTooLongError
    if re.fullmatch("[45][0-9][0-9]", code):
        return _by_status(int(code))
    return next((STREAM_ERROR_TYPES[name] for name in sources.codes if name in STREAM_ERROR_TYPES), ServerError)


def _field_as_text(value: object) -> str:
    """Give a text or a number of an error object as text; a number may have thousands of digits."""
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
    """Name both lengths where the server counts them (llama.cpp does)."""
    given, most = sources.body.get("n_prompt_tokens"), sources.body.get("n_ctx")
    if given is None or most is None:
        return None
    return f"the request has {given} tokens; the model's context holds {most}"


def _reason(sources: ErrorSources) -> str:
    """Give the provider's own words: of its error object, else of LiteLLM's message without LiteLLM's prefixes."""
    message = sources.body.get("message")
    text = _clean(message if isinstance(message, str) and message else str(sources.chain[0]))
    if not text:
        text = "no reason given"
    return text if sources.status is None else f"{sources.status}: {text}"


def _clean(text: str) -> str:
    first = _LITELLM_PREFIX.sub("", text.strip())
    return " ".join(_TAGS.sub(" ", first).split())


def _cut(line: str) -> str:
    return line if len(line) <= MAX_REASON else f"{line[: MAX_REASON - 1]}…"
