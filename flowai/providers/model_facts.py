"""Facts about a model from LiteLLM's price table: limits, capabilities, and the day on which it is retired."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from flowai.providers.prices import PriceTable

CAPABILITIES = {
    "supports_function_calling": "tools",
    "supports_response_schema": "schema",
    "supports_vision": "vision",
    "supports_reasoning": "reasoning",
    "supports_prompt_caching": "prompt cache",
    "supports_audio_input": "audio",
    "supports_pdf_input": "pdf",
}
"""Names of capabilities by the table's fields."""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Entry of one model in the table."""

    end_date: date | None = None
    """Day from which the provider no longer promises to serve the model; None if the table has none."""
    max_input_tokens: int | None = None
    """None when not listed."""
    max_output_tokens: int | None = None
    """None when not listed."""
    capabilities: tuple[str, ...] = ()
    """Sorted; only those that the table lists, so that a missing one may exist."""

    def days_left(self, today: date) -> int | None:
        """Return the days until the end date, negative after it; None without one."""
        return None if self.end_date is None else (self.end_date - today).days


def model_facts(model: str, table: PriceTable) -> ModelFacts | None:
    """Return the facts about a model (`openai/gpt-4o-mini`); None when it is not listed."""
    row = table.row(model)
    if row is None:
        return None
    return ModelFacts(
        end_date=_date(row.get("deprecation_date")),
        max_input_tokens=_count(row.get("max_input_tokens")),
        max_output_tokens=_count(row.get("max_output_tokens")),
        capabilities=tuple(sorted(name for field, name in CAPABILITIES.items() if row.get(field) is True)),
    )


def table_version() -> str | None:
    """Return the version of the package that the table is from; None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # 15 ms; only `flowai models` shows it

    try:
        return f"litellm {version('litellm')}"
    except PackageNotFoundError:
        return None


def _date(value: Any) -> date | None:  # noqa: ANN401 - a field of the table
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        return None


def _count(value: Any) -> int | None:  # noqa: ANN401 - a field of the table
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
