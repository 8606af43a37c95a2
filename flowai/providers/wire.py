"""Requests as they are sent: an address, headers and a body."""

from __future__ import annotations

import msgspec


class WireRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request, complete but for the connection's own headers."""

    url: str
    headers: tuple[tuple[str, str], ...]
    """Hold the key: never shown, logged or recorded."""
    body: bytes
    method: str = "POST"

    def __repr__(self) -> str:
        """Return a text without headers and body."""
        return f"WireRequest(url={self.url!r}, body_bytes={len(self.body)})"
