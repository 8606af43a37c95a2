"""The response headers that say how flowai came to an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from flowai.gateway.records import CompletionResult, StreamStarted


def answer_headers(what: CompletionResult | StreamStarted) -> dict[str, str]:
    """Give the headers that say how flowai came to an answer."""
    headers = {
        "x-flowai-call-id": what.call_id,
        "x-flowai-model": what.model,
        "x-flowai-degraded": "true" if what.degraded else "false",
        "x-flowai-cache": what.cache,
    }
    if what.release is not None:
        headers["x-flowai-release"] = what.release
    if what.variant is not None:
        headers["x-flowai-variant"] = what.variant
    if what.disclaimer is not None:
        headers["x-flowai-disclaimer"] = what.disclaimer
    return {name: _header_value(value) for name, value in headers.items()}


_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def _header_value(text: str) -> str:
    """Keep printable ASCII, and percent-encode the UTF-8 of all else: no text can begin a header of its own."""
    return quote(text, safe=_PLAIN)
