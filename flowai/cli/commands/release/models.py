"""`flowai models`: options and screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowai.providers.model_lists.records import LiveModel
    from flowai.registry.model_list import ListedModel, ModelList

EXAMPLES = examples("flowai models", "flowai models --live", "flowai models --env prod --json")
MAX_NAME_CHARS = 34
_COLUMNS = ("model", "called", "$ in / out per 1 M", "context", "ends", "next", "live", "features", "capabilities")
_DROP_ORDER = (8, 3, 7, 1, 2)
"""Columns that are left out on a narrow terminal, the least important first."""


def command(
    live: Annotated[bool, typer.Option("--live", help="Ask each provider whether it lists the model.")] = False,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """List models with prices, limits and end dates.

    Prices, limits and end dates are those of the installed LiteLLM. A model with an `api_base` has no end date.
    `next` is the newest living model of the family, a guess (`?`), unless the provider names one. With --live: exit
    status 4 if no provider could be asked.
    """
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.providers import PriceTable
    from flowai.registry.model_list import ask_live, list_models
    from flowai.workspace.workspace import open_workspace

    context = console.command_context(env)
    workspace = open_workspace(context)
    found = None
    if live:
        found = ask_live(workspace.registry.models, workspace.resolve_endpoint, workspace.redactor.text)
    today = context.now().date()
    listed = list_models(workspace.registry, workspace.release, today=today, prices=PriceTable(), live=found)
    if json:
        console.print_json(listed)
    else:
        for line in screen_lines(listed, console.terminal_width()):
            console.print_line(line)
    if found is not None and is_unreadable(found.values()):
        raise typer.Exit(ExitCode.INFRASTRUCTURE)


def is_unreadable(found: Iterable[LiveModel]) -> bool:
    """Return whether providers should have been asked, and none answered."""
    statuses = {model.status for model in found}
    return "failed" in statuses and not statuses & {"listed", "not_listed"}


def screen_lines(listed: ModelList, width: int | None) -> Iterator[str]:
    """Yield the table of models, and the source of its figures."""
    from flowai.rendering.formatting import aligned, without_columns, wrapped

    if not listed.models:
        yield "no models: the registry has none"
        return
    table = [_COLUMNS, *map(_cells, listed.models)]
    is_empty = [
        name in {"next", "live"} and all(row[at] == "-" for row in table[1:]) for at, name in enumerate(_COLUMNS)
    ]
    drop_order = [at - sum(is_empty[:at]) for at in _DROP_ORDER if not is_empty[at]]
    table = [tuple(cell for cell, empty in zip(row, is_empty, strict=True) if not empty) for row in table]
    rows = without_columns(table, drop_order, width)
    yield from aligned(rows, "".join(">" if name in {"$ in / out per 1 M", "context"} else "<" for name in rows[0]))
    for model in listed.models:
        if model.live is not None and model.live.reason is not None:
            word = "could not be asked" if model.live.status == "failed" else "not asked"
            yield from wrapped(f"{model.name} {word}: {model.live.reason}", width)
    yield f"prices, limits and end dates: {listed.table or 'not installed'}; features: of release {listed.release}"


def _cells(model: ListedModel) -> tuple[str, ...]:
    from flowai.rendering.markdown import one_line

    return (
        one_line(model.name, MAX_NAME_CHARS),
        one_line(model.model, MAX_NAME_CHARS),
        _price(model),
        "-" if model.max_input_tokens is None else f"{model.max_input_tokens:,}",
        _end(model),
        one_line(
            f"{model.replacement}{'?' if model.is_replacement_guess else ''}" if model.replacement else "-",
            MAX_NAME_CHARS,
        ),
        _live(model.live),
        one_line(", ".join(model.features) or "-", MAX_NAME_CHARS),
        ", ".join(model.capabilities) or "-",
    )


def _live(live: LiveModel | None) -> str:
    if live is None:
        return "-"
    word = {"listed": "listed", "not_listed": "NOT LISTED", "failed": "NOT ASKED", "not_asked": "-"}[live.status]
    return f"{word}, DEPRECATED" if live.is_deprecated else word


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
