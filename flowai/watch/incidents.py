"""Incidents: opened when a cause is detected, resolved when its calls were healthy for a whole window."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.notifications.records import Severity
from flowai.watch.causes import CauseKind, IncidentCause, is_caused_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.watch.error_rates import AlertRule, BurnWindows, Health

INCIDENT_EXPIRY = timedelta(hours=24)
"""An incident without calls is resolved after this time."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A cause with an alert."""

    id: str
    """Unique; a later incident of the same cause has another id."""
    cause: str
    """Identifies the cause for recipients (`flowai/prod/provider/openai`)."""
    kind: CauseKind
    name: str = ""
    """Name of the release, provider or feature; empty for the service."""
    features: tuple[str, ...] = ()
    """For a release: the features that it changed."""
    guardrails: tuple[str, ...] = ()
    """For a release: guardrails that are worse; empty if only its calls fail."""
    summary: str = ""
    """Text of the alert, secrets redacted."""
    details: dict[str, Any] = {}
    """Figures of the alert."""
    severity: Severity = "error"
    opened_at: datetime
    """RFC 3339, UTC; so are the next two."""
    last_failing_at: datetime
    """Last check with too many failures or a worse guardrail."""
    last_call_at: datetime
    """Last check with calls."""
    rollback_attempts: int = 0
    rolled_back_to: str | None = None
    """Release that serves since the automatic rollback; None without one."""

    def covers(self, cause: IncidentCause) -> bool:
        """Return whether this incident is about a cause."""
        return (self.kind, self.name) == (cause.kind, cause.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentUpdate:
    """Changes of the incidents at a check."""

    opened: tuple[IncidentCause, ...] = ()
    """New causes."""
    kept: tuple[Incident, ...] = ()
    """Incidents that stay open."""
    resolved: tuple[Incident, ...] = ()


def update_incidents(
    incidents: Sequence[Incident], causes: Sequence[IncidentCause], windows: BurnWindows, rule: AlertRule, now: datetime
) -> IncidentUpdate:
    """Compare open incidents with the causes of a new check.

    An incident is resolved when its calls were healthy at every check for a whole window, and no guardrail was worse;
    or when there were no calls for a day. Without calls it stays open: no traffic is no recovery.
    """
    kept: list[Incident] = []
    resolved: list[Incident] = []
    for incident in incidents:
        is_failing = any(incident.covers(cause) for cause in causes)
        healths = _healths(windows, incident)
        is_healthy = all(health.is_healthy(rule) or not health.window.call_count for health in healths)
        calls = sum(health.window.call_count for health in healths)
        updated = msgspec.structs.replace(
            incident,
            last_failing_at=now if is_failing or not is_healthy else incident.last_failing_at,
            last_call_at=now if calls else incident.last_call_at,
        )
        is_over = calls > 0 and now - updated.last_failing_at >= timedelta(minutes=rule.window_minutes)
        if is_over or now - updated.last_call_at >= INCIDENT_EXPIRY:
            resolved.append(updated)
        else:
            kept.append(updated)
    opened = [cause for cause in causes if not any(one.covers(cause) for one in incidents)]
    return IncidentUpdate(opened=tuple(opened), kept=tuple(kept), resolved=tuple(resolved))


def _healths(windows: BurnWindows, incident: Incident) -> tuple[Health, ...]:
    """Return the counts that must be healthy: for a release its own calls, and those of its features."""
    own = windows.of(lambda cell: is_caused_by(incident.kind, incident.name, incident.features, cell))
    if incident.kind != "release":
        return (own,)
    return own, windows.of(lambda cell: cell.feature in incident.features)
