"""Knows whether LiteLLM sent a request: it converts messages itself, and its exceptions do not say what failed."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.errors import TimedOutError

_CURRENT: ContextVar[SentRequest | None] = ContextVar("flowai_litellm_request", default=None)


class SentRequest:
    """A request, and whether it went out. LiteLLM reports it after the conversion, connections when they are used."""

    def __init__(self) -> None:
        self.was_sent = False
        _CURRENT.set(self)

    def record(self, details: Mapping[str, Any]) -> None:
        """Record that the request is being sent: LiteLLM's `logger_fn`, which it calls before and after that."""
        if details.get("log_event_type") == "pre_api_call":
            self.was_sent = True

    def checked(self, error: TimedOutError) -> TimedOutError:
        """Return the error of a time limit; it says nothing about the provider if LiteLLM had sent nothing."""
        if not self.was_sent:
            error.is_provider_fault = error.was_tried = False
        return error


async def record_request_start(*_: object) -> None:
    """Record that a connection is being used: aiohttp's `on_request_start`."""
    current = _CURRENT.get()
    if current is not None:
        current.was_sent = True
