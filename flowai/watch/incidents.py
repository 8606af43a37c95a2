"""Open incidents, from the first sight of a cause until it has been well for a whole window."""

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
"""An incident whose calls ceased is closed after this: nobody will learn any more how they go."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A cause that somebody was told of."""

    id: str
    """Names this incident; a later one of the same cause has another."""
    cause: str
    """Names the cause to receivers (`flowai/prod/provider/openai`)."""
    kind: CauseKind
    """What fails."""
    name: str = ""
    """Which; empty for the service."""
    features: tuple[str, ...] = ()
    """Of a release: those it changed."""
    summary: str = ""
    """The line that was told, secrets redacted."""
    details: dict[str, Any] = {}
    """Figures that were told."""
    severity: Severity = "error"
    """How bad it was."""
    opened_at: datetime
    """When it was first seen (RFC 3339, UTC)."""
    unwell_at: datetime
    """When too many calls last failed."""
    called_at: datetime
    """When there last were calls."""
    rollback_tries_count: int = 0
    """How often its release was to be rolled back, >= 0."""
    rolled_back_to: str | None = None
    """What serves since; None where nothing was rolled back."""

    def covers(self, cause: IncidentCause) -> bool:
        """Tell whether a cause is this one."""
        return (self.kind, self.name) == (cause.kind, cause.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentUpdate:
    """What a look changed."""

    opened: tuple[IncidentCause, ...] = ()
    """Causes that nobody was told of."""
    kept: tuple[Incident, ...] = ()
    """Incidents that stay open."""
    resolved: tuple[Incident, ...] = ()
    """Incidents that ended."""


def update(
    incidents: Sequence[Incident], causes: Sequence[IncidentCause], spans: BurnWindows, rule: AlertRule, now: datetime
) -> IncidentUpdate:
    """Hold open incidents against a new look.

    An incident ends when its calls have been well at every look for a whole window, or when there have been none for a
    day. Without calls it stays: silence is no recovery.

    Args:
        incidents: those open.
        causes: what burns now.
        spans: all calls.
        rule: when failures are too many.
        now: the time, UTC.
    """
    kept: list[Incident] = []
    resolved: list[Incident] = []
    for incident in incidents:
        is_seen = any(incident.covers(cause) for cause in causes)
        well = all(health.is_healthy(rule) or not health.window.call_count for health in _healths(spans, incident))
        calls = sum(health.window.call_count for health in _healths(spans, incident))
        now_known = msgspec.structs.replace(
            incident,
            unwell_at=now if is_seen or not well else incident.unwell_at,
            called_at=now if calls else incident.called_at,
        )
        is_over = calls > 0 and now - now_known.unwell_at >= timedelta(minutes=rule.window_minutes)
        if is_over or now - now_known.called_at >= INCIDENT_EXPIRY:
            resolved.append(now_known)
        else:
            kept.append(now_known)
    opened = [cause for cause in causes if not any(one.covers(cause) for one in incidents)]
    return IncidentUpdate(opened=tuple(opened), kept=tuple(kept), resolved=tuple(resolved))


def _healths(spans: BurnWindows, incident: Incident) -> tuple[Health, ...]:
    """Give the calls that must be well: of a release its own, as long as there are any, and those of its features."""
    own = spans.of(lambda cell: is_caused_by(incident.kind, incident.name, incident.features, cell))
    if incident.kind != "release":
        return (own,)
    return own, spans.of(lambda cell: cell.feature in incident.features)
