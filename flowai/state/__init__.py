"""State shared by processes: circuit breakers, budgets, the live overlay, heartbeats."""

from flowai.state.factory import open_state
from flowai.state.fallback_store import FallbackStateStore
from flowai.state.memory_store import InMemoryStateStore
from flowai.state.store import (
    NO_CALLS,
    AnsweredCalls,
    Balance,
    BreakerDecision,
    BreakerRule,
    BreakerStatus,
    BreakerView,
    Heartbeat,
    KnownProcess,
    Overlay,
    Reservation,
    SharedState,
    StateStore,
)
from flowai.state.urls import shown_address

__all__ = [
    "NO_CALLS",
    "AnsweredCalls",
    "Balance",
    "BreakerDecision",
    "BreakerRule",
    "BreakerStatus",
    "BreakerView",
    "FallbackStateStore",
    "Heartbeat",
    "InMemoryStateStore",
    "KnownProcess",
    "Overlay",
    "Reservation",
    "SharedState",
    "StateStore",
    "open_state",
    "shown_address",
]
