"""Queues alerts of incidents and writes them to the event log, each once, even if a watch is killed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from flowai.errors import FlowaiError
from flowai.events import AlertEvent, EventLog
from flowai.events.lake.catalog import has_file_for_day
from flowai.notifications.records import Alert
from flowai.notifications.routing import deliveries
from flowai.watch import wording

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from flowai.notifications.outbox import Outbox
    from flowai.watch.incident_store import IncidentState
    from flowai.watch.incidents import Incident
    from flowai.watch.session import ObservedRelease

NotificationAction = Literal["trigger", "resolve"]


class NotificationQueue:
    """Queues the messages of incidents.

    A message id contains the incident and the action, so that the outbox accepts it once; the next watch queues the
    messages that a killed process did not.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._queued: set[str] = set()

    def queue(self, observed: ObservedRelease, state: IncidentState, now: datetime) -> tuple[str, ...]:
        """Queue all messages of these incidents that are not queued yet; return the problems."""
        problems: list[str] = []
        for incident in (*state.incidents, *state.resolved):
            problems += self._queue_alert(observed, incident, "trigger", incident.opened_at)
            problems += self._enqueue_once(
                f"{incident.id}/event", "the event log lacks the alert", partial(_log, observed, incident)
            )
        for incident in state.resolved:
            problems += self._queue_alert(observed, incident, "resolve", now)
        return tuple(dict.fromkeys(problems))

    def _queue_alert(
        self, observed: ObservedRelease, incident: Incident, action: NotificationAction, at: datetime
    ) -> list[str]:
        name = f"{incident.id}/{action}"
        messages = deliveries(_alert(observed, incident, action, at), observed.registry.alerts, id=name)
        return self._enqueue_once(name, "the alert is not queued yet", lambda: self._outbox.queue(messages))

    def _enqueue_once(self, name: str, failed: str, act: Callable[[], None]) -> list[str]:
        if name in self._queued:
            return []
        try:
            act()
        except FlowaiError as error:
            return [f"{failed}: {error}"]
        self._queued.add(name)
        return []


def _alert(observed: ObservedRelease, incident: Incident, action: NotificationAction, at: datetime) -> Alert:
    return Alert(
        cause=incident.cause,
        action=action,
        summary=incident.summary if action == "trigger" else wording.recovery_text(incident, at),
        severity=incident.severity,
        source=f"flowai {observed.source.environment or 'default'}",
        at=at,
        details=incident.details,
    )


def _log(observed: ObservedRelease, incident: Incident) -> None:
    """Write an incident into a file of its own in the event log; the next process sees by the file that it is there."""
    if has_file_for_day(observed.events, incident.id, incident.opened_at):
        return
    event = AlertEvent(
        at=incident.opened_at,
        cause="guardrail" if incident.guardrails else "error_rate",
        message=incident.summary,
        feature=incident.name if incident.kind == "feature" else None,
        provider=incident.name if incident.kind == "provider" else None,
        release=incident.name if incident.kind == "release" else None,
    )
    with EventLog(observed.events, incident.id, observed.redactor, lambda: incident.opened_at) as log:
        log.append(event)
