"""Computes the cost of a call from a row of LiteLLM's price table, as LiteLLM does where the protocol is OpenAI's."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN_PRICES = (
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_creation_input_token_cost",
    "cache_read_input_token_cost",
)
TIER_SUFFIXES = {
    "balanced": "_balanced",
    "fast": "_priority",
    "flex": "_flex",
    "priority": "_priority",
    "ultrafast": "_ultrafast",
}
"""Ends of the prices of a service tier."""
_OTHER_ENDS = ("_balanced", "_batches", "_decisions", "_fast", "_flex", "_priority", "_ultrafast")
UNCERTAIN_PRICES = (
    "cost_per_second",
    "input_cost_per_second",
    "off_peak_pricing",
    "output_cost_per_second",
    "tiered_pricing",
)
"""Prices that depend on the time, on tables, or on the length of a call: LiteLLM computes them."""


class Rates:
    """Prices of one token, for one request.

    Args:
        row: of the price table.
        prompt_tokens: those of the request, which decide about prices above a limit.
        tier: service tier of the request.
        is_inclusive: whether a request of exactly the limit costs more already.
    """

    def __init__(self, row: Mapping[str, Any], prompt_tokens: int, tier: str | None, *, is_inclusive: bool) -> None:
        self._row = row
        self._suffix = TIER_SUFFIXES.get(tier.lower(), "") if tier else ""
        prices = {name: self.price(name) for name in TOKEN_PRICES}
        if not prices["output_cost_per_token"]:
            prices["output_cost_per_token"] = self.price("output_cost_per_image_token", tiered=False)
        for limit, word in self._limits():
            if prompt_tokens > limit or (is_inclusive and prompt_tokens == limit):
                for name in TOKEN_PRICES:
                    above = self.price(f"{name}_above_{word}_tokens")
                    prices[name] = prices[name] if above is None else above
        self.input = prices["input_cost_per_token"] or 0.0
        self.output = prices["output_cost_per_token"] or 0.0
        self.cache_write = self._or_input(prices["cache_creation_input_token_cost"])
        self.cache_read = self._or_input(prices["cache_read_input_token_cost"])

    def price(self, name: str, *, tiered: bool = True) -> float | None:
        """Return a price, that of the service tier if there is one; None if it is not listed."""
        for key in (name + self._suffix, name) if tiered else (name,):
            value = self._row.get(key)
            if value is not None:
                return float(value)
        return None

    def reasoning(self) -> float:
        """Return the price of a token of reasoning."""
        own = self._row.get("output_cost_per_reasoning_token" + self._suffix)
        if own is None and (not self._suffix or self._row.get("output_cost_per_token" + self._suffix) is None):
            own = self._row.get("output_cost_per_reasoning_token")
        return self.output if own is None else float(own)

    def input_of(self, name: str) -> float:
        """Return a price of the request, that of its text if it is not listed."""
        return self._or_input(self.price(name))

    def output_of(self, name: str) -> float:
        """Return a price of the answer, that of its text if it is not listed."""
        price = self.price(name, tiered=False)
        return self.output if price is None else price

    def _or_input(self, price: float | None) -> float:
        return self.input if price is None else price

    def _limits(self) -> list[tuple[float, str]]:
        """Return the limits above which a request costs more, the lowest first."""
        found = set()
        for key in self._row:
            name, is_above, rest = key.partition("_above_")
            if is_above and name in TOKEN_PRICES and self._row[key] is not None and "_tokens" in rest:
                if rest.endswith(_OTHER_ENDS) and not (self._suffix and rest.endswith(self._suffix)):
                    continue
                word = rest.partition("_tokens")[0]
                number = word.removesuffix("k")
                if number.isdigit():
                    found.add((int(number) * (1_000 if word.endswith("k") else 1), word))
        return sorted(found)


def token_cost_usd(
    row: Mapping[str, Any], usage: Mapping[str, Any], tier: str | None = None, *, is_inclusive: bool = False
) -> float:
    """Return the cost of a call.

    Args:
        row: of the price table, without `UNCERTAIN_PRICES`.
        usage: in OpenAI's format, with the details that the provider reported.
        tier: service tier of the request.
        is_inclusive: whether a request of exactly a limit costs more already.
    """
    rates = Rates(row, _count(usage, "prompt_tokens"), tier, is_inclusive=is_inclusive)
    return _input_cost_usd(rates, usage) + _output_cost_usd(rates, usage)


def fireworks_cost_usd(row: Mapping[str, Any], usage: Mapping[str, Any]) -> float:
    """Return the cost of a call of Fireworks AI: cached tokens cost half, unless the row says otherwise."""
    price = row.get("input_cost_per_token")
    if row.get("cache_read_input_token_cost") is None and price is not None:
        row = {**row, "cache_read_input_token_cost": price * _FIREWORKS_CACHE_RATE}
    return token_cost_usd(row, usage)


_FIREWORKS_CACHE_RATE = 0.5


def reported_cost_usd(usage: Mapping[str, Any]) -> float | None:
    """Return the cost that a provider has reported, >= 0; None if it has not."""
    reported = usage.get("cost")
    if isinstance(reported, dict):
        reported = reported.get("total_cost")
    if isinstance(reported, bool) or not isinstance(reported, int | float) or not 0 <= reported < inf:
        return None
    return float(reported)


def xai_cost_usd(row: Mapping[str, Any], usage: Mapping[str, Any]) -> float:
    """Return the cost of a call of xAI: the one it reports, else with reasoning at the price of text."""
    reported = reported_cost_usd(usage)
    if reported is not None:
        return reported
    prompt_tokens, completion_tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if _count(usage, "total_tokens") != prompt_tokens + completion_tokens:  # reasoning is counted beside the answer
        completion_tokens += _count(_details(usage, "completion_tokens_details"), "reasoning_tokens")
    counted = {**usage, "completion_tokens": completion_tokens, "completion_tokens_details": None}
    return token_cost_usd(row, counted, is_inclusive=True)


def perplexity_cost_usd(row: Mapping[str, Any], usage: Mapping[str, Any]) -> float:
    """Return the cost of a call of Perplexity: the one it reports, else with citations and without cached tokens."""
    reported = reported_cost_usd(usage)
    if reported is not None:
        return reported
    cost = _count(usage, "prompt_tokens") * _price(row, "input_cost_per_token")
    cost += _count(usage, "citation_tokens") * _price(row, "citation_cost_per_token")
    completion_tokens = _count(usage, "completion_tokens")
    reasoning = _count(usage, "reasoning_tokens")
    reasoning = reasoning or _count(_details(usage, "completion_tokens_details"), "reasoning_tokens")
    if row.get("output_cost_per_reasoning_token") is None:
        reasoning = 0
    text = max(0, completion_tokens - reasoning) if reasoning else completion_tokens
    cost += text * _price(row, "output_cost_per_token") + reasoning * _price(row, "output_cost_per_reasoning_token")
    searches = row.get("search_context_cost_per_query")
    search_count = _count(_details(usage, "prompt_tokens_details"), "web_search_requests")
    if search_count and searches is not None:
        price = _price(searches, "search_context_size_low") if isinstance(searches, dict) else float(searches)
        cost += search_count * price
    return cost


def _price(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return 0.0 if value is None else float(value)


def _input_cost_usd(rates: Rates, usage: Mapping[str, Any]) -> float:
    prompt_tokens = _count(usage, "prompt_tokens")
    details = _details(usage, "prompt_tokens_details")
    read, write = _cached_tokens(usage, details)
    cached = _details(details, "cached_tokens_details")
    cached_audio = min(_count(cached, "audio_tokens"), read)
    cached_text = min(_count(cached, "text_tokens"), read - cached_audio)
    cached_image = min(_count(cached, "image_tokens"), read - cached_audio - cached_text)
    text = max(_count(details, "text_tokens") - cached_text, 0)
    audio = max(_count(details, "audio_tokens") - cached_audio, 0)
    image = max(_count(details, "image_tokens") - cached_image, 0)
    video = _count(details, "video_tokens")
    if not (details or read or write):
        return prompt_tokens * rates.input
    if (read or write) and text + read + audio + write + image + video > prompt_tokens:  # counts that overlap
        left = max(prompt_tokens - read - write, 0)
        audio = min(audio, left)
        image = min(image, left - audio)
        video = min(video, left - audio - image)
        text = left - audio - image - video
    elif not text:
        text = max(prompt_tokens - read - audio - write - image - video, 0)
    audio_read = rates.price("cache_read_input_audio_token_cost")
    return (
        text * rates.input
        + (read - cached_audio) * rates.cache_read
        + cached_audio * (rates.cache_read if audio_read is None else audio_read)
        + audio * rates.input_of("input_cost_per_audio_token")
        + image * rates.input_of("input_cost_per_image_token")
        + video * rates.input_of("input_cost_per_video_token")
        + write * rates.cache_write
    )


def _cached_tokens(usage: Mapping[str, Any], details: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many tokens of the request were read from the provider's cache, and written to it."""
    read = _count(details, "cached_tokens")
    for name in ("prompt_cache_hit_tokens", "cache_read_input_tokens"):  # DeepSeek's, Anthropic's
        read = usage[name] if type(usage.get(name)) is int else read
    named = (usage.get("cache_creation_input_tokens"), *(details.get(name) for name in _WRITTEN))
    return read, next((count for count in named if type(count) is int), 0)


_WRITTEN = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")


def _output_cost_usd(rates: Rates, usage: Mapping[str, Any]) -> float:
    completion_tokens = _count(usage, "completion_tokens")
    details = _details(usage, "completion_tokens_details")
    reasoning = _count(details, "reasoning_tokens")
    audio = _count(details, "audio_tokens")
    image = _count(details, "image_tokens")
    video = _count(details, "video_tokens")
    text = _count(details, "text_tokens")
    other = audio + image + video
    text -= min(reasoning, text, max(text + reasoning + other - completion_tokens, 0))
    if not text:
        if not (reasoning or other):
            return completion_tokens * rates.output
        text = max(0, completion_tokens - reasoning - other)
    return (
        text * rates.output
        + audio * rates.output_of("output_cost_per_audio_token")
        + reasoning * rates.reasoning()
        + image * rates.output_of("output_cost_per_image_token")
        + video * rates.output_of("output_cost_per_video_token")
    )


def _details(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = usage.get(name)
    return found if isinstance(found, dict) else {}


def _count(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return value if type(value) is int else 0
