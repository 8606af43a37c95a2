"""Prices of models, read from LiteLLM's price table without importing LiteLLM (which takes seconds)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")
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


class PriceTable:
    """LiteLLM's price table from its wheel; read at first use.

    Args:
        file: the table; default the one in the installed package.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._rows: dict[str, msgspec.Raw] | None = None

    def price(self, model: str) -> Price | None:
        """Return the price of a model (`openai/gpt-4o-mini`); None when it is not listed or there is no table.

        The lookup is LiteLLM's: by the full name, then without the provider's prefix.
        """
        return self.row(model, Price) or self.row(model.partition("/")[2], Price)

    def row(self, name: str, kind: type[_T]) -> _T | None:
        """Return a row of the table; None when there is none of this name and shape.

        Args:
            name: of the row, exactly.
            kind: the fields to read.
        """
        if self._rows is None:
            self._rows = _read(self._file or _packaged())
        row = self._rows.get(name)
        try:
            return None if row is None else msgspec.json.decode(row, type=kind)
        except msgspec.DecodeError:
            return None

    def cost_usd(self, model: str, usage: Mapping[str, Any]) -> float | None:
        """Return the cost of a call; None when the model has no price.

        Args:
            model: LiteLLM's name (`openai/gpt-4o-mini`).
            usage: in OpenAI's format, with the details that the provider reported.
        """
        price = self.price(model)
        if price is None:
            return None
        return price.cost_usd(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)


def _packaged() -> Path | None:
    spec = find_spec("litellm")  # finds, does not import
    return None if spec is None or spec.origin is None else Path(spec.origin).with_name(_TABLE_FILE)


def _read(file: Path | None) -> dict[str, msgspec.Raw]:
    if file is None or not file.is_file():
        return {}
    return msgspec.json.decode(file.read_bytes(), type=dict[str, msgspec.Raw])
