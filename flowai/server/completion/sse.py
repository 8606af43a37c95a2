"""Server-sent events with a name.

Source: WHATWG HTML, Server-sent events.
"""

from __future__ import annotations

from typing import Any

import msgspec


def event_frame(name: str, payload: dict[str, Any]) -> bytes:
    """Return one event; the name is repeated in its data as `type`."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode({"type": name, **payload}) + b"\n\n"
