"""`flowai models`: options and screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.registry.model_list import ListedModel, ModelList

EXAMPLES = examples("flowai models", "flowai models --env prod", "flowai models --json")
MAX_NAME_CHARS = 34
_COLUMNS = ("model", "called", "$ in / out per 1 M", "context", "ends", "features", "capabilities")
_DROP_ORDER = (6, 3, 5, 2)
"""Columns that are left out on a narrow terminal, the least important first."""


def command(env: Env = None, json: JsonOption = False) -> None:
    """List models with prices, limits and end dates; offline.

    Prices, limits and end dates are those of the installed LiteLLM. A model with an `api_base` has no end date.
    """
    from flowai.cli import console
    from flowai.providers import PriceTable
    from flowai.registry.model_list import list_models
    from flowai.workspace.workspace import open_workspace

    context = console.command_context(env)
    workspace = open_workspace(context)
    listed = list_models(workspace.registry, workspace.release, today=context.now().date(), prices=PriceTable())
    if json:
        console.print_json(listed)
        return
    for line in screen_lines(listed, console.terminal_width()):
        console.print_line(line)


def screen_lines(listed: ModelList, width: int | None) -> Iterator[str]:
    """Yield the table of models, and the source of its figures."""
    from flowai.rendering.formatting import aligned, without_columns

    if not listed.models:
        yield "no models: the registry has none"
        return
    rows = without_columns([_COLUMNS, *map(_cells, listed.models)], _DROP_ORDER, width)
    yield from aligned(rows, "".join(">" if name in {"$ in / out per 1 M", "context"} else "<" for name in rows[0]))
    yield f"prices, limits and end dates: {listed.table or 'not installed'}; features: of release {listed.release}"


def _cells(model: ListedModel) -> tuple[str, ...]:
    from flowai.rendering.markdown import one_line

    return (
        one_line(model.name, MAX_NAME_CHARS),
        one_line(model.model, MAX_NAME_CHARS),
        _price(model),
        "-" if model.max_input_tokens is None else f"{model.max_input_tokens:,}",
        _end(model),
        one_line(", ".join(model.features) or "-", MAX_NAME_CHARS),
        ", ".join(model.capabilities) or "-",
    )


def _price(model: ListedModel) -> str:
    input_usd, output_usd = model.input_usd_per_million_tokens, model.output_usd_per_million_tokens
    if input_usd is None or output_usd is None:
        return "-"
    return "free" if not (input_usd or output_usd) else f"{input_usd:.2f} / {output_usd:.2f}"


def _end(model: ListedModel) -> str:
    if model.end_date is None or model.days_left is None:
        return "-"
    if model.days_left < 0:
        return f"{model.end_date.isoformat()} RETIRED"
    return f"{model.end_date.isoformat()} in {model.days_left} d"
