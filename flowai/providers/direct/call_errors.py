"""Errors of calls over flowai's own connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.providers.direct.chat_call import HttpAnswerError
from flowai.providers.failures import explain_malformed, http_error, malformed_error
from flowai.providers.http.connections import RedirectError
from flowai.providers.http.network_errors import network_error
from flowai.providers.openai.stream_parser import MalformedStreamError

if TYPE_CHECKING:
    from datetime import datetime

    from flowai.errors import CallError
    from flowai.providers.client import Endpoint
    from flowai.redaction import Redactor


def call_error(
    error: Exception, *, endpoint: Endpoint, elapsed_s: float, now: datetime, redactor: Redactor
) -> CallError:
    """Return the error of a call that failed with one of `chat_call.FAILURES`."""
    if isinstance(error, HttpAnswerError):
        return http_error(
            status=error.status,
            headers=error.headers,
            body=error.body,
            endpoint=endpoint,
            now=now,
            redactor=redactor,
        )
    if isinstance(error, MalformedStreamError):
        return explain_malformed(error, endpoint=endpoint, redactor=redactor)
    if isinstance(error, RedirectError):
        return malformed_error(endpoint, redactor.text(error.what))
    return network_error(error, endpoint=endpoint, elapsed_s=elapsed_s, redactor=redactor)
