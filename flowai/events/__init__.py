"""Room: the event log, where everything that happened to a call is kept."""

from flowai.events.log import EventLog, UnreadableLine, read_events
from flowai.events.model import OTEL_NAMES, Attempt, CallEvent, Content, Event

__all__ = [
    "OTEL_NAMES",
    "Attempt",
    "CallEvent",
    "Content",
    "Event",
    "EventLog",
    "UnreadableLine",
    "read_events",
]
