"""Prices of models, read from LiteLLM's price table without importing LiteLLM (which takes seconds)."""

from __future__ import annotations

import re
from datetime import date
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.costs import (
    UNCERTAIN_PRICES,
    fireworks_cost_usd,
    perplexity_cost_usd,
    reported_cost_usd,
    token_cost_usd,
    xai_cost_usd,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TABLE_FILE = "model_prices_and_context_window_backup.json"


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Price of a model, and its input limit."""

    input_cost_per_token: float | None = None
    """US dollars, >= 0; None when not listed. The field names are LiteLLM's."""
    output_cost_per_token: float | None = None
    max_input_tokens: int | None = None
    """None when not listed."""

    def cost_usd(self, input_tokens: float, output_tokens: float) -> float | None:
        """Return the price of a call; None when a price is missing."""
        if self.input_cost_per_token is None or self.output_cost_per_token is None:
            return None
        return input_tokens * self.input_cost_per_token + output_tokens * self.output_cost_per_token


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a row by which models are compared; the decoder skips the others."""

    provider: str = msgspec.field(default="", name="litellm_provider")
    mode: str = ""
    deprecation_date: str | None = None

    @property
    def end_date(self) -> date | None:
        """Day from which the provider no longer promises to serve the model; None if the table has none."""
        try:
            return None if self.deprecation_date is None else date.fromisoformat(self.deprecation_date)
        except ValueError:
            return None


class PriceTable:
    """LiteLLM's price table from its wheel; read at first use.

    Args:
        file: the table; default the one in the installed package.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._rows: dict[str, msgspec.Raw] | None = None
        self._decoded: dict[str, dict[str, Any] | None] = {}
        self._names: set[str] | None = None
        self._summaries: dict[str, ModelSummary] | None = None
        self._rules: list[re.Pattern[str]] | None = None

    def price(self, model: str) -> Price | None:
        """Return the price of a model (`openai/gpt-4o-mini`); None when it is not listed or there is no table.

        The lookup is LiteLLM's: by the full name, then without the provider's prefix.
        """
        row = self._raw_row(model)
        try:
            return None if row is None else msgspec.json.decode(row, type=Price)
        except msgspec.DecodeError:  # a row of another shape counts as missing
            return None

    def can_compute_cost(self, model: str) -> bool:
        """Return whether `cost_usd` equals LiteLLM's for a model, None included.

        False for prices that depend on the time or on tables, and where LiteLLM looks for the price of a similar model.
        """
        provider, slash, name = model.partition("/")
        row = self.row(model)
        if row is None:
            return bool(slash) and provider not in _GUESS_PRICES and not self._has_similar(model, name)
        is_uncertain = provider in _OWN_RULES or any(row.get(price) is not None for price in UNCERTAIN_PRICES)
        return not is_uncertain and row.get("litellm_provider") == (provider if slash else "openai")

    def cost_usd(self, model: str, usage: Mapping[str, Any], *, service_tier: str | None = None) -> float | None:
        """Return the cost of a chat or of embeddings, as LiteLLM computes it; None when the model has no price.

        Args:
            model: LiteLLM's name (`openai/gpt-4o-mini`), for which `can_compute_cost`.
            usage: in OpenAI's format, with the details that the provider reported.
            service_tier: the tier by which the provider has served the request, or else the requested one.
        """
        provider = model.partition("/")[0]
        row = self.row(model)
        if row is None:
            return reported_cost_usd(usage) if provider in _REPORT_COSTS else None
        cost_usd = _OWN_COSTS_USD.get(provider)
        return token_cost_usd(row, usage, service_tier) if cost_usd is None else cost_usd(row, usage)

    def _has_similar(self, model: str, name: str) -> bool:
        """Return whether LiteLLM finds a row for a model that is not listed: in another case, or by its rules."""
        if self._names is None or self._rules is None:
            rules = msgspec.json.decode((self._rows or {}).get(_RULES, b"{}"), type=_Rules).rules
            self._rules = [re.compile(rule.pattern, re.IGNORECASE) for rule in rules]
            self._names = {known.lower() for known in self._rows or ()}
        return (
            name.startswith("ft:")
            or not self._names.isdisjoint({model.lower(), name.lower()})
            or any(rule.search(text) for rule in self._rules for text in (model, name))
        )

    def row(self, model: str) -> dict[str, Any] | None:
        """Return the row of a model, all fields of it; None when it is not listed."""
        if model not in self._decoded:
            raw = self._raw_row(model)
            self._decoded[model] = None if raw is None else msgspec.json.decode(raw, type=dict[str, Any])
        return self._decoded[model]

    def summaries(self) -> dict[str, ModelSummary]:
        """Return provider, mode and end date of every model; rows that lack them are left out."""
        if self._summaries is None:
            self._summaries = {}
            for name in self.names():
                try:
                    self._summaries[name] = msgspec.json.decode((self._rows or {})[name], type=ModelSummary)
                except msgspec.ValidationError:
                    continue
        return self._summaries

    def names(self) -> tuple[str, ...]:
        """List the models of the table, in its order."""
        if self._rows is None:
            self._rows = _read(self._file or _packaged())
        return tuple(self._rows)

    def _raw_row(self, model: str) -> msgspec.Raw | None:
        if self._rows is None:
            self._rows = _read(self._file or _packaged())
        return self._rows.get(model) or self._rows.get(model.partition("/")[2])


class _UnlistedRule(msgspec.Struct):
    pattern: str


class _Rules(msgspec.Struct):
    """LiteLLM's rules for models that are not listed."""

    rules: list[_UnlistedRule] = []


_RULES = "fallback_generalizations"
_REPORT_COSTS = frozenset({"perplexity", "xai"})
"""Providers that report the cost of a call in its usage."""
_OWN_COSTS_USD: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], float]] = {
    "deepseek": token_cost_usd,
    "fireworks_ai": fireworks_cost_usd,
    "perplexity": perplexity_cost_usd,
    "tencent": token_cost_usd,
    "xai": xai_cost_usd,
}
"""Providers whose prices do not depend on the service tier, or whose answers are counted in their own way."""
_OWN_RULES = frozenset({"ai21", "dashscope", "lemonade", "qwen_ai_platform", "qwencloud"})
_GUESS_PRICES = frozenset({"fireworks_ai", "lemonade", "wandb"})
"""LiteLLM prices their unknown models by the size in the name, or at zero."""


def _packaged() -> Path | None:
    spec = find_spec("litellm")  # finds, does not import
    return None if spec is None or spec.origin is None else Path(spec.origin).with_name(_TABLE_FILE)


@cache
def _read(file: Path | None) -> dict[str, msgspec.Raw]:
    if file is None or not file.is_file():
        return {}
    return msgspec.json.decode(file.read_bytes(), type=dict[str, msgspec.Raw])
