"""Room: the event log, where everything that happened to a call is kept."""

from flowai.events.log import EventLog, UnreadableLine, read_events
from flowai.events.model import (
    OTEL_NAMES,
    SEMCONV_VERSION,
    AlertCause,
    AlertEvent,
    Attempt,
    Cache,
    CallEvent,
    Content,
    Event,
    FeedbackEvent,
    Origin,
    SkipReason,
    Variant,
    Verdict,
)

__all__ = [
    "OTEL_NAMES",
    "SEMCONV_VERSION",
    "AlertCause",
    "AlertEvent",
    "Attempt",
    "Cache",
    "CallEvent",
    "Content",
    "Event",
    "EventLog",
    "FeedbackEvent",
    "Origin",
    "SkipReason",
    "UnreadableLine",
    "Variant",
    "Verdict",
    "read_events",
]
