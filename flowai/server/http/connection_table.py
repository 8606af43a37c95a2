"""The open connections of a server: their limit, and which is closed for a new one.

Connections without a request are closed first, then those whose body is still being received, the oldest first; running
calls are never cut. Health checks have connections of their own beyond the limit.
"""

from __future__ import annotations

from typing import Literal, Protocol

from flowai.server.errors import ErrorResponse

HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
HEALTH_CONNECTIONS = 64
"""Connections beyond the limit, for health checks."""
_RETRY_AFTER_S = 1.0

Phase = Literal["idle", "receiving", "busy"]
"""`idle`: no complete head of a request. `receiving`: its body is incomplete. `busy`: it is being answered."""

OVERLOADED = ErrorResponse(
    status=503,
    message="the gateway has as many connections as it can serve",
    type="server_error",
    code="overloaded",
    retry_after_s=_RETRY_AFTER_S,
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
    """

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._phases: dict[Connection, Phase] = {}
        self._by_phase: dict[Phase, dict[Connection, None]] = {"idle": {}, "receiving": {}, "busy": {}}

    def __len__(self) -> int:
        return len(self._phases)

    @property
    def is_full(self) -> bool:
        """Whether only health checks are answered: requests that are being answered have reached the limit."""
        return len(self._by_phase["busy"]) > self._max_connections

    def add(self, connection: Connection) -> None:
        """Add a new connection; above the limit, another one is closed for it, or it is refused itself."""
        while len(self) >= self._max_connections + HEALTH_CONNECTIONS:
            oldest = next(iter(self._by_phase["idle"] or self._by_phase["receiving"]), None)
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
            self._by_phase[phase][connection] = None

    def remove(self, connection: Connection) -> None:
        """Forget a connection; does nothing for an unknown one."""
        phase = self._phases.pop(connection, None)
        if phase is not None:
            del self._by_phase[phase][connection]
