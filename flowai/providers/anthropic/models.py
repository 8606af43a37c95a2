"""Abilities of Anthropic's models, from LiteLLM's price table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from flowai.providers.prices import PriceTable

PREFIX = "anthropic/"


class ModelAbilities(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a model that decide how its requests are built. The field names are LiteLLM's."""

    litellm_provider: str = ""
    mode: str = ""
    max_output_tokens: int | None = None
    """Limit of an answer, sent when a request has none: the protocol requires a limit."""
    supports_native_structured_output: bool = False
    """Whether a schema is sent as `output_format`; LiteLLM sends it as a tool to other models."""
    supports_adaptive_thinking: bool = False
    """Whether the model decides how much it thinks, by an effort instead of a number of tokens."""
    supports_legacy_thinking: bool = False
    """Whether such a model still accepts a number of tokens."""
    supports_xhigh_reasoning_effort: bool = False
    supports_reasoning: bool = False
    supports_sampling_params: bool = True
    """Whether `temperature`, `top_p` and `top_k` are accepted."""
    supports_forced_tool_use: bool = True
    thinking_always_on: bool = False


class ModelCatalog:
    """The models whose requests are built without LiteLLM.

    Args:
        prices: LiteLLM's price table.
    """

    def __init__(self, prices: PriceTable) -> None:
        self._prices = prices
        self._known: dict[str, ModelAbilities | None] = {}

    def abilities(self, model: str) -> ModelAbilities | None:
        """Return the abilities of a model (`anthropic/claude-haiku-4-5`); None for one that is not listed."""
        if model not in self._known:
            self._known[model] = self._find(model)
        return self._known[model]

    def _find(self, model: str) -> ModelAbilities | None:
        if not model.startswith(PREFIX):
            return None
        try:
            found = msgspec.convert(self._prices.row(model) or {}, ModelAbilities)
        except msgspec.ValidationError:
            return None
        return found if (found.litellm_provider, found.mode) == ("anthropic", "chat") else None
