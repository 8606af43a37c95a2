"""Computes the cost of an answer from a row of LiteLLM's price table, as LiteLLM does for Anthropic's models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_INPUT = "input_cost_per_token"
_OUTPUT = "output_cost_per_token"
_READ = "cache_read_input_token_cost"
_WRITTEN = "cache_creation_input_token_cost"
_WRITTEN_1H = "cache_creation_input_token_cost_above_1hr"
_THRESHOLD = re.compile(f"(?:{_INPUT}|{_OUTPUT}|{_READ}|{_WRITTEN})_above_([0-9]+)k_tokens")
_NO_REGION = frozenset({"global", "not_available"})


def message_cost_usd(row: Mapping[str, Any], usage: Mapping[str, Any]) -> float | None:
    """Return the cost of an answer; None if the row has no prices.

    Args:
        row: of LiteLLM's price table.
        usage: the token counts, from `convert_usage`.
    """
    if _number(row.get(_INPUT)) is None or _number(row.get(_OUTPUT)) is None:
        return None
    rates = _rates(row, usage["prompt_tokens"])
    details = usage["prompt_tokens_details"]
    read, written = details["cached_tokens"], details["cache_creation_tokens"]
    by_time = details.get("cache_creation_token_details")
    if by_time is None:
        written_usd = written * rates[_WRITTEN]
    else:
        short, long = by_time["ephemeral_5m_input_tokens"], by_time["ephemeral_1h_input_tokens"]
        written_usd = short * rates[_WRITTEN] + long * rates[_WRITTEN_1H]
    plain = usage["prompt_tokens"] - read - written
    cost: float = plain * rates[_INPUT] + read * rates[_READ] + written_usd
    cost += usage["completion_tokens"] * rates[_OUTPUT]
    return cost * _factor(row, usage)


def _rates(row: Mapping[str, Any], input_tokens: int) -> dict[str, float]:
    """Return the prices per token of a request of a length; a long one may cost more."""
    rates = {
        name: rate
        for name in (_INPUT, _OUTPUT, _READ, _WRITTEN, _WRITTEN_1H)
        if (rate := _number(row.get(name))) is not None
    }
    for thousands in sorted({int(match[1]) for name in row if (match := _THRESHOLD.fullmatch(name))}):
        if input_tokens > thousands * 1000:
            for name in (_INPUT, _OUTPUT, _READ, _WRITTEN, _WRITTEN_1H):
                rate = _number(row.get(f"{name}_above_{thousands}k_tokens"))
                if rate is not None:
                    rates[name] = rate
    for name, stand_in in ((_READ, _INPUT), (_WRITTEN, _INPUT), (_WRITTEN_1H, _WRITTEN)):
        rates.setdefault(name, rates[stand_in])
    return rates


def _factor(row: Mapping[str, Any], usage: Mapping[str, Any]) -> float:
    """Return the surcharge of the region and the speed at which the answer was made."""
    surcharges = row.get("provider_specific_entry")
    if not isinstance(surcharges, dict):
        return 1.0
    factor = 1.0
    region = usage.get("inference_geo", "global").lower()
    if region not in _NO_REGION:
        factor *= _number(surcharges.get(region)) or 1.0
    if usage.get("speed") == "fast":
        factor *= _number(surcharges.get("fast")) or 1.0
    return factor


def _number(value: Any) -> float | None:  # noqa: ANN401 - JSON is anything
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
