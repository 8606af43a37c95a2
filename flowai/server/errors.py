"""What a caller is told when a request fails: the status and OpenAI's error object, for each of our errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import (
    AllModelsFailedError,
    BudgetError,
    CallError,
    ContentFilteredError,
    ContextTooLongError,
    FlowaiError,
    InfrastructureError,
    InvalidRequestError,
    ProjectError,
    PromptError,
    RateLimitedError,
    TimedOutError,
    UsageError,
)
from flowai.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_MESSAGE_CHARACTERS = 2000
_SERVER = 500  # from here on the fault is not the caller's
CLIENT_GONE = 499  # nginx's number for a caller that left; seen in metrics only


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorResponse:
    """What the caller is told."""

    status: int
    """HTTP status, 400 to 599."""
    message: str
    """What is wrong, secrets redacted."""
    type: str = "invalid_request_error"
    """OpenAI's kind: `invalid_request_error`, `insufficient_quota`, `server_error`."""
    code: str | None = None
    """What a program can branch on; None when the status says it all."""
    param: str | None = None
    """The parameter at fault, dotted (`messages.0.content`); None when none is."""
    retry_after_s: float | None = None
    """Seconds until trying again makes sense, >= 0; None when nobody knows."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of the answer."""

    def body(self) -> bytes:
        """Give OpenAI's error object as JSON."""
        return msgspec.json.encode(self.as_object())

    def as_object(self) -> dict[str, dict[str, str | None]]:
        """Give OpenAI's error object."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def all_headers(self) -> dict[str, str]:
        """Give the headers of the answer; Retry-After in whole seconds, rounded up."""
        headers = {"content-type": "application/json", **self.headers}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        return headers


class RefusedError(FlowaiError):
    """The server refuses a request by itself, before the gateway sees it.

    Args:
        problem: what the caller is told.
    """

    def __init__(self, problem: ErrorResponse) -> None:
        super().__init__(problem.message)
        self.problem = problem


class ClientGoneError(FlowaiError):
    """The caller left before its answer was whole; nobody is told."""

    def __init__(self) -> None:
        super().__init__("the caller left")


def error_response(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    retry_after_s: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> RefusedError:
    """Give the error for a request that is refused; its message is redacted, its type follows from the status."""
    kind = "invalid_request_error" if status < _SERVER else "server_error"
    return RefusedError(
        ErrorResponse(
            status=status,
            message=_shown(message),
            type=kind,
            code=code,
            param=param,
            retry_after_s=retry_after_s,
            headers=headers or {},
        )
    )


INTERNAL_ERROR = ErrorResponse(
    status=500, message="the gateway failed; this is a bug in flowai", type="server_error", code="bug"
)


def error_response_for(error: FlowaiError) -> ErrorResponse:
    """Say what the caller is told of an error."""
    if isinstance(error, RefusedError):
        return error.problem
    if isinstance(error, BudgetError):
        return _of_budget(error)
    if isinstance(error, CallError):
        return _of_call(error)
    for kind, status, code, param in _SERVER_ERRORS:
        if isinstance(error, kind):
            side = "invalid_request_error" if status < _SERVER else "server_error"
            return ErrorResponse(status=status, message=_message(error), type=side, code=code, param=param)
    return INTERNAL_ERROR


_SERVER_ERRORS: tuple[tuple[type[FlowaiError], int, str | None, str | None], ...] = (
    (PromptError, 400, "invalid_variables", "prompt_variables"),
    (UsageError, 400, None, None),
    (ProjectError, 500, "misconfigured", None),
    (InfrastructureError, 503, "unavailable", None),
)
"""Status, code and parameter of failures that no provider has to do with; the first class that fits counts."""


def _of_budget(error: BudgetError) -> ErrorResponse:
    """A day's money comes back with the day; a request over its token limit never fits."""
    if error.retry_after_s is None:
        return ErrorResponse(status=400, message=_message(error), code="token_budget_exceeded")
    return ErrorResponse(
        status=429,
        message=_message(error),
        type="insufficient_quota",
        code="insufficient_quota",
        retry_after_s=error.retry_after_s,
        headers={"x-should-retry": "false"},  # OpenAI's clients would try twice more within seconds
    )


_CLIENT_ERRORS: tuple[tuple[type[CallError], str], ...] = (
    (ContentFilteredError, "content_filter"),
    (ContextTooLongError, "context_length_exceeded"),
    (InvalidRequestError, "invalid_request"),
)
"""What the caller can mend, and its code; the names are OpenAI's where it has them."""


def _of_call(error: CallError) -> ErrorResponse:
    for kind, code in _CLIENT_ERRORS:
        if isinstance(error, kind):
            return ErrorResponse(status=400, message=_message(error), code=code)
    status, code = _of_provider(error)
    return ErrorResponse(
        status=status, message=_message(error), type="server_error", code=code, retry_after_s=error.retry_after_s
    )


def _of_provider(error: FlowaiError) -> tuple[int, str]:
    """Tell apart: not now (503), too slow (504), broken (502); of several failures the last one speaks."""
    if isinstance(error, AllModelsFailedError):
        return _of_provider(error.failures[-1]) if error.failures else (503, "providers_resting")
    if isinstance(error, RateLimitedError):
        return 503, "provider_rate_limited"
    if isinstance(error, TimedOutError):
        return 504, "provider_timed_out"
    return 502, "provider_failed"


def _message(error: FlowaiError) -> str:
    """Give what is wrong without the place: a file of the operator's is nothing to the caller."""
    return _shown(error.what)


def _shown(text: str) -> str:
    shown = redact(text)
    return shown if len(shown) <= _MAX_MESSAGE_CHARACTERS else shown[:_MAX_MESSAGE_CHARACTERS] + "…"
