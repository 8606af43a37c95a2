"""Knows whether LiteLLM sent a request: it converts messages itself, and its exceptions do not say what failed."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.errors import TimedOutError

_CURRENT: ContextVar[SentRequest | None] = ContextVar("flowai_litellm_request", default=None)


class SentRequest:
    """A request, and whether it went out. LiteLLM reports it after the conversion, connections when they are used.

    Args:
        limit_s: time limit of the first answer, seconds; a request that is ready later is never sent.
    """

    def __init__(self, limit_s: float) -> None:
        self.was_sent = False
        self._deadline_s = time.monotonic() + limit_s
        _CURRENT.set(self)

    def record(self, details: Mapping[str, Any]) -> None:
        """Record that the request is being sent: LiteLLM's `logger_fn`, which it calls before and after that."""
        if details.get("log_event_type") == "pre_api_call":
            self.record_sent()

    def record_sent(self) -> None:
        """Record that the request is being sent."""
        self.was_sent = self.was_sent or time.monotonic() < self._deadline_s

    def checked(self, error: TimedOutError) -> TimedOutError:
        """Return the error of a time limit; it says nothing about the provider if LiteLLM had sent nothing."""
        if not self.was_sent:
            error.is_provider_fault = error.was_tried = False
        return error


async def record_request_start(*_: object) -> None:
    """Record that a connection is being used: aiohttp's `on_request_start`."""
    current = _CURRENT.get()
    if current is not None:
        current.record_sent()
