"""Converts Anthropic's token counts into OpenAI's, as LiteLLM does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.providers.openai.tool_calls import is_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WRITTEN = "cache_creation_input_tokens"
_CACHE_TIMES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


def convert_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts in OpenAI's format, with what the price of an answer depends on.

    Anthropic counts tokens read from and written to the cache beside the other tokens of a request, OpenAI among them.

    Args:
        usage: Anthropic's counts; each may be missing or of any type.
    """
    steps = usage.get("iterations")
    steps = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    read, written = _sum(steps or (usage,), "cache_read_input_tokens"), _sum(steps or (usage,), _WRITTEN)
    input_tokens = _sum(steps or (usage,), "input_tokens") + read + written
    output_tokens = _sum(steps or (usage,), "output_tokens")
    details: dict[str, Any] = {"cached_tokens": read, "cache_creation_tokens": written}
    by_time = _written_by_time(steps, written) or _times(usage.get("cache_creation"))
    if by_time:
        details["cache_creation_token_details"] = by_time
    counts: dict[str, Any] = {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": details,
    }
    for name in ("inference_geo", "speed"):
        if isinstance(usage.get(name), str):
            counts[name] = usage[name]
    return counts


def _sum(steps: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(count for step in steps if is_count(count := step.get(name)))


def _written_by_time(steps: Sequence[Mapping[str, Any]], written: int) -> dict[str, int]:
    """Return the tokens written to the cache by how long they stay there; empty if no step has them."""
    found = [times for step in steps if (times := _times(step.get("cache_creation")))]
    if not found:
        return {}
    short, long = (_sum(found, name) for name in _CACHE_TIMES)
    return {_CACHE_TIMES[0]: max(written - long, short), _CACHE_TIMES[1]: long}


def _times(value: Any) -> dict[str, int]:  # noqa: ANN401 - JSON is anything
    return {name: _sum((value,), name) for name in _CACHE_TIMES} if isinstance(value, dict) else {}
