"""Response headers that describe an answer: call id, release, variant, model, cache."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from flowai.gateway.records import CompletionResult, StreamStarted


def answer_headers(answer: CompletionResult | StreamStarted) -> dict[str, str]:
    """Return the headers that describe an answer."""
    headers = {
        "x-flowai-call-id": answer.call_id,
        "x-flowai-model": answer.model,
        "x-flowai-degraded": "true" if answer.degraded else "false",
        "x-flowai-cache": answer.cache,
    }
    if answer.release is not None:
        headers["x-flowai-release"] = answer.release
    if answer.variant is not None:
        headers["x-flowai-variant"] = answer.variant
    if answer.disclaimer is not None:
        headers["x-flowai-disclaimer"] = answer.disclaimer
    return {name: _header_value(value) for name, value in headers.items()}


_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def _header_value(text: str) -> str:
    """Keep printable ASCII and percent-encode the rest, so that no text can inject a header."""
    return quote(text, safe=_PLAIN)
