"""Converts LiteLLM's exceptions into CallErrors with the kind of failure and the provider's own reason.

LiteLLM's classes are not reliable: a refused connection is an InternalServerError with an invented status 500, a 403 a
bare APIError, and a content-policy rejection a bad request. The rules of `providers/failure_rules.py` come first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
)
from flowai.providers.failure_rules import (
    ErrorAnswer,
    decode_error_object,
    error_object,
    kind_by_status,
    specific_kind,
)
from flowai.providers.failures import answered_error, build_error, causes, clean, connection_error, unbuildable_error

if TYPE_CHECKING:
    from datetime import datetime

    from flowai.providers.client import Endpoint
    from flowai.redaction import Redactor

# LiteLLM's classes that are more specific than the status: it knows reasons of many providers.
SPECIFIC_ERROR_CLASSES: dict[str, type[CallError]] = {
    "ContextWindowExceededError": ContextTooLongError,
    "ContentPolicyViolationError": ContentFilteredError,
    "AuthenticationError": AuthError,
    "PermissionDeniedError": AuthError,
    "RateLimitError": RateLimitedError,
    "NotFoundError": ModelNotFoundError,
}
_COUNTING_MODULE = "litellm_core_utils/token_counter.py"
_FETCH_ERRORS = frozenset({"ImageFetchError"})
_REFUSALS = frozenset({"AuthenticationError", "NotFoundError", "PermissionDeniedError"})
"""LiteLLM's classes of keys and models that it refuses itself."""
_LOGIN_ERRORS = frozenset({"ImportError"})
_LOGIN_PACKAGES = frozenset({"azure", "boto3", "botocore", "google", "msal", "requests", "urllib3"})
"""Packages with which LiteLLM logs in before it sends a request."""
_CONNECTION_ERRORS = frozenset({"ClientError", "HTTPError", "OSError"})
"""Exceptions of aiohttp, httpx and Python."""
INVALID_RESPONSE_TEXT = "Empty or invalid response from LLM endpoint"  # LiteLLM's message about a malformed body

_LITELLM_PREFIX = re.compile(r"^(?:litellm\.)?(?:\w+(?:Error|Exception|Timeout)\b\s*(?:-|:)\s*)+")


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
    chain = causes(error)
    answer = _answer(error, chain)
    kind = specific_kind(answer)
    if kind is None and answer.status is None and not answer.error:
        if INVALID_RESPONSE_TEXT in str(error):
            what = "the answer does not have OpenAI's format"
            return build_error(MalformedAnswerError, what, answer, endpoint, redactor, None)
        failure = connection_error(error, endpoint=endpoint, elapsed_s=elapsed_s, redactor=redactor)
        if failure is not None:
            return failure
    return answered_error(
        kind or _kind_by_class(error, chain, answer),
        answer,
        _LITELLM_PREFIX.sub("", str(error).strip()),
        endpoint=endpoint,
        now=now,
        redactor=redactor,
    )


def unsent_error(error: BaseException, endpoint: Endpoint, redactor: Redactor) -> CallError | None:
    """Build the error of a request that LiteLLM did not send; None if a connection or an answer explains it.

    A request that cannot be converted is the caller's mistake. A key or a package that is missing is not.
    """
    chain = causes(error)
    names = {base.__name__ for link in chain for base in type(link).__mro__}
    reason = redactor.text(_reason_of(error))
    if not names & _FETCH_ERRORS:
        if names & _REFUSALS or _response(chain) is not None:
            return None
        packages = {type(link).__module__.partition(".")[0] for link in chain}
        is_openai_s = any(type(link).__name__ == "OpenAIError" for link in chain)  # of its client, without a key
        if names & _LOGIN_ERRORS or packages & _LOGIN_PACKAGES or is_openai_s:
            return build_error(AuthError, reason, ErrorAnswer(), endpoint, redactor, None)
        if names & _CONNECTION_ERRORS:
            return None
    return unbuildable_error(endpoint, reason)


def is_uncounted(error: BaseException) -> bool:
    """Return whether LiteLLM failed to count the request's tokens, which it does for its own books, answer or not."""
    for link in causes(error):
        trace = link.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.endswith(_COUNTING_MODULE):
                return True
            trace = trace.tb_next
    return False


def uncounted_error(error: BaseException, endpoint: Endpoint, redactor: Redactor) -> CallError:
    """Build the error of a request whose tokens LiteLLM cannot count; the provider is not to blame."""
    what = f"LiteLLM cannot count the tokens of the request: {_reason_of(error)}"
    failure = build_error(InvalidRequestError, what, ErrorAnswer(), endpoint, redactor, None)
    failure.is_provider_fault = False
    return failure


def _reason_of(error: BaseException) -> str:
    """Return the reason in LiteLLM's text, without its own names and without a traceback."""
    return clean(_LITELLM_PREFIX.sub("", str(error).partition("Traceback (most recent call last)")[0].strip()))


def _answer(error: BaseException, chain: tuple[BaseException, ...]) -> ErrorAnswer:
    """Extract the provider's answer from an exception and its causes."""
    response = _response(chain)
    headers = getattr(response, "headers", None) or getattr(error, "litellm_response_headers", None) or {}
    status = getattr(response, "status_code", None)
    return ErrorAnswer(
        status=status if isinstance(status, int) else _http_status(error, chain),
        headers={str(key).lower(): str(value) for key, value in dict(headers).items()},
        error=_error_object(chain, response),
    )


def _error_object(chain: tuple[BaseException, ...], response: object) -> Mapping[str, Any]:
    bodies = (getattr(link, "body", None) for link in chain)
    body = next((found for found in bodies if isinstance(found, Mapping)), None)
    if body is not None:
        return error_object(body)
    try:
        content = getattr(response, "content", None)
    except Exception:  # noqa: BLE001 - httpx raises where a stream was not read
        content = None
    found = decode_error_object(content) if isinstance(content, bytes) else {}
    return found or _quoted_object(str(chain[0]))


def _quoted_object(text: str) -> Mapping[str, Any]:
    """Return the error object that LiteLLM quotes in its own message; empty without one that has a message."""
    try:
        decoded, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
    except (ValueError, RecursionError):
        return {}
    found = error_object(decoded)
    return found if ErrorAnswer(error=found).message else {}


def _response(chain: tuple[BaseException, ...]) -> object:
    """Return the real HTTP answer, if there is one; LiteLLM invents some for its own exceptions."""
    for link in chain:
        response = getattr(link, "response", None)
        if hasattr(response, "status_code") and not type(link).__module__.startswith("litellm"):
            return response
    return None


def _http_status(error: BaseException, chain: tuple[BaseException, ...]) -> int | None:
    """Return LiteLLM's status, unless a failure of the connection or the body explains the error."""
    status = getattr(error, "status_code", None)
    names = {type(link).__name__ for link in chain}
    if not isinstance(status, int) or names & {"MidStreamFallbackError", "InternalServerError"}:
        return None
    return None if any(isinstance(link, OSError | json.JSONDecodeError) for link in chain) else status


def _kind_by_class(error: BaseException, chain: tuple[BaseException, ...], answer: ErrorAnswer) -> type[CallError]:
    """Return the class by LiteLLM's class, else by the status."""
    for base in type(error).__mro__:
        if base.__name__ in SPECIFIC_ERROR_CLASSES:
            return SPECIFIC_ERROR_CLASSES[base.__name__]
    kind = kind_by_status(answer)
    is_litellm_s_own = kind is ServerError and answer.status == 400 and _response(chain) is None  # noqa: PLR2004 - bad request
    return InvalidRequestError if is_litellm_s_own else kind  # LiteLLM refused the request before it was sent
