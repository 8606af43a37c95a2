"""The open connections of a server: their limit, and which is closed for a new one.

Connections without a request are closed first, then those whose body is still being received, the oldest first; those
that were just opened come last, and running calls are never cut. Health checks have connections beyond the limit.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, Protocol

from flowai.server.errors import OVERLOAD_RETRY_AFTER_S, ErrorResponse

if TYPE_CHECKING:
    from collections.abc import Callable

HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
HEALTH_CONNECTIONS = 64
"""Connections beyond the limit, for health checks."""
_YOUNG_S = 1.0  # time in which an honest caller has sent its request

Phase = Literal["idle", "receiving", "busy"]
"""`idle`: no complete head of a request. `receiving`: its body is incomplete. `busy`: it is being answered."""

_REPLACEABLE: tuple[Phase, ...] = ("idle", "receiving")

OVERLOADED = ErrorResponse(
    status=503,
    message="the gateway has as many connections as it can serve",
    type="server_error",
    code="overloaded",
    retry_after_s=OVERLOAD_RETRY_AFTER_S,
    headers={"connection": "close"},
)


class Connection(Protocol):
    """A connection in the table."""

    def evict(self) -> None:
        """Close the connection for a newer one."""

    def refuse(self, problem: ErrorResponse) -> None:
        """Close the connection with a response."""


class ConnectionTable:
    """The connections of one server; used within its event loop.

    Args:
        max_connections: limit for all requests but health checks, >= 1.
        clock_s: monotonic clock, seconds.
    """

    def __init__(self, max_connections: int, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._max_connections = max_connections
        self._clock_s = clock_s
        self._phases: dict[Connection, Phase] = {}
        # with the beginning of the phase, oldest first
        self._by_phase: dict[Phase, dict[Connection, float]] = {"idle": {}, "receiving": {}, "busy": {}}

    def __len__(self) -> int:
        return len(self._phases)

    @property
    def is_full(self) -> bool:
        """Return whether only health checks are answered: as many requests as the limit are being answered."""
        return len(self._by_phase["busy"]) > self._max_connections

    def add(self, connection: Connection) -> None:
        """Add a new connection; above the limit, another one is closed for it, or it is refused itself."""
        while len(self) >= self._max_connections + HEALTH_CONNECTIONS:
            oldest = self._replaceable()
            if oldest is None:
                connection.refuse(OVERLOADED)
                return
            self.remove(oldest)
            oldest.evict()
        self.update(connection, "idle")

    def update(self, connection: Connection, phase: Phase) -> None:
        """Record the phase of a connection; within one phase, connections are ordered by their time in it."""
        before = self._phases.get(connection)
        if before != phase:
            self.remove(connection)
            self._phases[connection] = phase
            self._by_phase[phase][connection] = self._clock_s()

    def remove(self, connection: Connection) -> None:
        """Forget a connection; does nothing for an unknown one."""
        phase = self._phases.pop(connection, None)
        if phase is not None:
            del self._by_phase[phase][connection]

    def _replaceable(self) -> Connection | None:
        """Return the connection that a new one replaces; None if all are busy."""
        oldest = [next(iter(self._by_phase[phase].items()), None) for phase in _REPLACEABLE]
        found = [item for item in oldest if item is not None]
        old = [item for item in found if self._clock_s() - item[1] >= _YOUNG_S]
        return next((connection for connection, _ in old or found), None)
