"""Response headers that describe an answer: call id, release, variant, arm, model, cache, valid JSON, cost."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import quote

from flowai.gateway.records import CompletionResult

if TYPE_CHECKING:
    from flowai.gateway.records import StreamStarted


def answer_headers(answer: CompletionResult | StreamStarted) -> dict[str, str]:
    """Return the headers that describe an answer; at a stream's start, valid JSON and cost are not known yet."""
    headers: dict[str, str | None] = {
        "x-flowai-call-id": answer.call_id,
        "x-flowai-model": answer.model,
        "x-flowai-degraded": _boolean(answer.degraded),
        "x-flowai-cache": answer.cache,
        "x-flowai-release": answer.release,
        "x-flowai-variant": answer.variant,
        "x-flowai-experiment": answer.experiment,
        "x-flowai-arm": answer.arm,
        "x-flowai-disclaimer": answer.disclaimer,
    }
    if isinstance(answer, CompletionResult):
        headers["x-flowai-json-valid"] = None if answer.json_valid is None else _boolean(answer.json_valid)
        headers["x-flowai-cost-usd"] = None if answer.cost_usd is None else f"{Decimal(repr(answer.cost_usd)):f}"
    return {name: _header_value(value) for name, value in headers.items() if value is not None}


def _boolean(value: bool) -> str:  # noqa: FBT001 - the only argument
    return "true" if value else "false"


_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def _header_value(text: str) -> str:
    """Keep printable ASCII and percent-encode the rest, so that no text can inject a header."""
    return quote(text, safe=_PLAIN)
