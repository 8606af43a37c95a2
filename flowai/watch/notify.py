"""What incidents say: messages in the outbox, lines in the event log; each once, however often a watch is killed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from flowai.errors import FlowaiError
from flowai.events import AlertEvent, EventLog
from flowai.events.lake.catalog import has_file_for_day
from flowai.notifications.records import Alert
from flowai.notifications.routing import deliveries
from flowai.watch import wording as words

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from flowai.notifications.outbox import Outbox
    from flowai.watch.incident_store import IncidentState
    from flowai.watch.incidents import Incident
    from flowai.watch.session import ObservedRelease

NotificationAction = Literal["trigger", "resolve"]


class NotificationQueue:
    """The messages of incidents.

    A message is named by its incident and by what it says, so that the outbox takes it once; whatever a process that
    was killed had not queued is queued by the next.

    Args:
        outbox: where they wait.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._kept: set[str] = set()

    def queue(self, standing: ObservedRelease, memory: IncidentState, now: datetime) -> tuple[str, ...]:
        """Make sure that every message of these incidents waits in the outbox, or went out.

        Args:
            standing: who is told, what is secret, where the log lies.
            memory: the incidents.
            now: the time, UTC.

        Returns:
            Why not; nothing when all are kept.
        """
        problems: list[str] = []
        for incident in (*memory.incidents, *memory.resolved):
            problems += self._queue_alert(standing, incident, "trigger", incident.opened_at)
            problems += self._enqueue_once(
                f"{incident.id}/event", "the event log has no line of it yet", partial(_log, standing, incident)
            )
        for incident in memory.resolved:
            problems += self._queue_alert(standing, incident, "resolve", now)
        return tuple(dict.fromkeys(problems))

    def _queue_alert(
        self, standing: ObservedRelease, incident: Incident, action: NotificationAction, at: datetime
    ) -> list[str]:
        name = f"{incident.id}/{action}"
        messages = deliveries(_alert(standing, incident, action, at), standing.registry.alerts, id=name)
        return self._enqueue_once(name, "nobody is told yet", lambda: self._outbox.queue(messages))

    def _enqueue_once(self, name: str, failed: str, act: Callable[[], None]) -> list[str]:
        if name in self._kept:
            return []
        try:
            act()
        except FlowaiError as error:
            return [f"{failed}: {error}"]
        self._kept.add(name)
        return []


def _alert(standing: ObservedRelease, incident: Incident, action: NotificationAction, at: datetime) -> Alert:
    return Alert(
        cause=incident.cause,
        action=action,
        summary=incident.summary if action == "trigger" else words.recovery_text(incident, at),
        severity=incident.severity,
        source=f"flowai {standing.source.environment or 'default'}",
        at=at,
        details=incident.details,
    )


def _log(standing: ObservedRelease, incident: Incident) -> None:
    """Put an incident into the event log, in a file of its own, by which the next process sees that it is there."""
    if has_file_for_day(standing.events, incident.id, incident.opened_at):
        return
    event = AlertEvent(
        at=incident.opened_at,
        cause="error_rate",
        message=incident.summary,
        feature=incident.name if incident.kind == "feature" else None,
        provider=incident.name if incident.kind == "provider" else None,
        release=incident.name if incident.kind == "release" else None,
    )
    with EventLog(standing.events, incident.id, standing.redactor, lambda: incident.opened_at) as log:
        log.append(event)
