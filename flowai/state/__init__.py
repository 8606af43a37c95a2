"""Room: what processes share: breakers, budgets, the live overlay, heartbeats."""

from flowai.state.factory import open_state
from flowai.state.fallback_store import GuardedState
from flowai.state.memory_store import MemoryState
from flowai.state.store import (
    Admission,
    BreakerRule,
    BreakerStatus,
    BreakerView,
    Heartbeat,
    Overlay,
    Reservation,
    Shared,
    State,
)
from flowai.state.urls import shown_address

__all__ = [
    "Admission",
    "BreakerRule",
    "BreakerStatus",
    "BreakerView",
    "GuardedState",
    "Heartbeat",
    "MemoryState",
    "Overlay",
    "Reservation",
    "Shared",
    "State",
    "open_state",
    "shown_address",
]
