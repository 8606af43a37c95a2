"""Health of a running server: a part that fails is reported once, and once more when it works again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import AuthError
from flowai.events import CallEvent, EmbeddingEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowai.events import Event
    from flowai.gateway.records import DegradedReason, GatewayStatus

_DESCRIPTIONS: Mapping[DegradedReason, str] = {
    "state_unavailable": "the shared state is unreachable",
    "event_log_unwritable": "events cannot be written",
    "registry_invalid": "the new version of the registry is invalid, the previous one serves",
    "semantic_cache_disabled": "the semantic cache is off",
    "cache_unavailable": "answers cannot be cached",
    "background_task_failing": "a background task fails and is tried again",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthChange:
    """A part fails, or works again."""

    description: str
    """The part and its problem, one line."""
    reason: str | None = None
    """Cause, secrets redacted; None when it works again."""
    duration_s: float | None = None
    """Time for which it failed, >= 0; None when it fails."""

    @property
    def text(self) -> str:
        """The change in one line."""
        if self.duration_s is not None:
            return f"recovered after {self.duration_s:.0f} s: {self.description}"
        reason = " ".join((self.reason or "").split())
        return f"degraded: {self.description}" + (f": {reason}" if reason else "")


class HealthMonitor:
    """Monitor of unavailable parts and refused keys.

    Args:
        report: called when a part fails, and when it works again.
        clock_s: monotonic clock, seconds.
    """

    def __init__(self, report: Callable[[HealthChange], None], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock_s = clock_s
        self._parts: dict[str, float] = {}
        self._refused_keys: dict[str, float] = {}

    def check(self, status: GatewayStatus) -> None:
        """Compare the gateway's unavailable parts with those of the last check."""
        found = {_DESCRIPTIONS.get(part, part): reason for part, reason in status.degraded.items()}
        for description, reason in found.items():
            self._failed(self._parts, description, reason)
        for description in self._parts.keys() - found.keys():
            self._recovered(self._parts, description)

    def add_event(self, event: Event) -> None:
        """Read from a call's attempts whether a provider refuses a key, or accepts it again."""
        if not isinstance(event, CallEvent | EmbeddingEvent):
            return
        for attempt in event.attempts:
            description = f"provider `{attempt.provider}` refuses the key of model `{attempt.model}`"
            if attempt.error_class == AuthError.__name__:
                self._failed(self._refused_keys, description, attempt.message)
            elif attempt.status == "ok" and description in self._refused_keys:
                self._recovered(self._refused_keys, description)

    def _failed(self, since_s: dict[str, float], description: str, reason: str | None) -> None:
        if description not in since_s:
            since_s[description] = self._clock_s()
            self._report(HealthChange(description=description, reason=reason))

    def _recovered(self, since_s: dict[str, float], description: str) -> None:
        duration_s = max(0.0, self._clock_s() - since_s.pop(description))
        self._report(HealthChange(description=description, duration_s=duration_s))
