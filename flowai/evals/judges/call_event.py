"""Call events of judges: origin `judge`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import CallError
from flowai.events import Attempt, CallEvent

if TYPE_CHECKING:
    from flowai.providers import Completion, Endpoint
    from flowai.workspace.workspace import CommandContext


def judge_call_event(context: CommandContext, endpoint: Endpoint, result: Completion | CallError) -> CallEvent:
    """Return the event of a judge's call, without its content."""
    attempt = Attempt(model=endpoint.name, provider=endpoint.provider, status="ok", latency_ms=0.0)
    event = CallEvent(
        call_id=context.new_id(),
        at=context.now(),
        origin="judge",
        requested_model=endpoint.name,
        provider=endpoint.provider,
        attempts=(attempt,),
        latency_ms=0.0,
    )
    if isinstance(result, CallError):
        kind = type(result).__name__
        failed = msgspec.structs.replace(attempt, status="error", http_status=result.status, error_class=kind)
        changed: dict[str, Any] = {"attempts": (failed,), "error_class": kind, "error_message": str(result)}
    else:
        changed = {
            "attempts": (msgspec.structs.replace(attempt, latency_ms=result.latency_ms),),
            "latency_ms": result.latency_ms,
            "served_model": result.served_model,
            "input_tokens": result.input_tokens,
            "output_tokens": result.output_tokens,
            "cost_usd": result.cost_usd,
            "finish_reason": result.finish_reason,
        }
    return msgspec.structs.replace(event, **changed)
