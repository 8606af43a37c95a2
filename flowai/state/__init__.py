"""Room: what processes share: breakers, budgets, the live overlay, heartbeats."""

from flowai.state.address import shown_address
from flowai.state.connect import open_state
from flowai.state.guarded_state import GuardedState
from flowai.state.memory_state import MemoryState
from flowai.state.model import (
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
