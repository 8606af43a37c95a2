"""`flowai calls` and `flowai calls show`: options and screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowai.cli.help_format import HelpCommand, HelpGroup, examples
from flowai.cli.options import Env, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.analytics.call_list import CallDetails, CallList, CallSummary

ID_CHARS = 8
"""Characters of a call's id in the list: enough for `flowai calls show`."""
MAX_NAME_CHARS = 24
_HTTP_ID_PREFIX = "chatcmpl-"

app = typer.Typer(
    cls=HelpGroup,
    help=(
        "List the newest calls of the event log.\n\n"
        "Calls of all origins: applications, `flowai serve`, `ask`, `eval`, `smoke`. On a narrow terminal the least "
        "important columns are left out."
    ),
    epilog=examples("flowai calls --failed --since 1h", "flowai calls --feature summarization -n 50"),
    invoke_without_command=True,
)


@app.callback()
def list_command(  # noqa: PLR0913, PLR0917 - a command's options
    context: typer.Context,
    failed: Annotated[bool, typer.Option("--failed", help="List only calls that failed.")] = False,
    degraded: Annotated[
        bool, typer.Option("--degraded", help="List only calls that the last resort answered.")
    ] = False,
    feature: Annotated[str | None, typer.Option("--feature", metavar="NAME", help="List only this feature.")] = None,
    max_count: Annotated[int, typer.Option("-n", metavar="N", min=1, max=10_000, help="List at most N calls.")] = 20,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Start: `1h`, `02:10`, `2026-05-02`.")] = "24h",
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """List the newest calls; see the help of the group."""
    if context.invoked_subcommand is not None:
        return
    from flowai.analytics.call_list import CallListOptions, list_calls
    from flowai.cli import console

    options = CallListOptions(since=since, max_count=max_count, failed=failed, degraded=degraded, feature=feature)
    found = list_calls(console.command_context(env), options)
    if json:
        console.print_json(found)
    else:
        for line in list_lines(found, since, console.terminal_width()):
            console.print_line(line)


@app.command(
    "show",
    cls=HelpCommand,
    epilog=examples("flowai calls show 3fa91c2e", "flowai calls show 3fa91c2e --since 90d --json"),
)
def show_command(
    call_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the call, or the beginning of it.")],
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Start of the search.")] = "30d",
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Show a call: attempts, prompt, answer, feedback and scores.

    Prompt and answer are in the log only if the feature's `log_content` allows it.
    """
    from flowai.analytics.call_list import find_call
    from flowai.cli import console

    found = find_call(console.command_context(env), call_id.removeprefix(_HTTP_ID_PREFIX), since=since)
    if json:
        console.print_json(found)
        return
    for line in detail_lines(found, console.terminal_width()):
        console.print_line(line)


_COLUMNS = (
    "time (UTC)", "id", "feature", "result", "model", "ms", "release", "attempts", "tokens", "cost", "origin",
    "TTFT ms",
)  # fmt: skip
_SIDES = {"ms": ">", "attempts": ">", "tokens": ">", "cost": ">", "TTFT ms": ">"}
_DROP_ORDER = ("TTFT ms", "origin", "cost", "tokens", "attempts", "release", "ms")
"""Columns that are left out on a narrow terminal, the least important first."""


def list_lines(found: CallList, since: str, width: int | None) -> Iterator[str]:
    """Yield the table of calls, newest first."""
    from flowai.rendering.formatting import aligned, count, without_columns

    if not found.calls:
        yield f"no calls since {since}"
        return
    rows = without_columns([_COLUMNS, *map(_cells, found.calls)], [_COLUMNS.index(name) for name in _DROP_ORDER], width)
    yield from aligned(rows, "".join(_SIDES.get(name, "<") for name in rows[0]))
    yield f"{count(len(found.calls), 'call')}   details: flowai calls show {found.calls[0].call_id[:ID_CHARS]}"


def _cells(call: CallSummary) -> tuple[str, ...]:
    from flowai.rendering.formatting import dollars
    from flowai.rendering.markdown import one_line

    def name(text: str | None) -> str:
        return "-" if text is None else one_line(text, MAX_NAME_CHARS)

    status = "" if call.http_status is None else f" {call.http_status}"
    result = f"{call.error_class}{status}" if call.error_class else "degraded" if call.degraded else "ok"
    tokens = "-" if call.input_tokens is None else f"{call.input_tokens:,}+{call.output_tokens or 0:,}"
    return (
        call.at[5:19].replace("T", " "),
        call.call_id[:ID_CHARS],
        name(call.feature),
        one_line(result, MAX_NAME_CHARS + 8),
        name(call.model),
        f"{call.latency_ms:,.0f}",
        name(call.release) + ("" if call.variant is None else f" {call.variant}"),
        f"{call.attempt_count}" if call.cache == "miss" else call.cache,
        tokens,
        dollars(call.cost_usd),
        call.origin,
        "-" if call.ttft_ms is None else f"{call.ttft_ms:,.0f}",
    )


def detail_lines(found: CallDetails, width: int | None) -> Iterator[str]:
    """Yield everything about a call."""
    from flowai.cli.call_view import call_lines

    yield from call_lines(found.call, width)
    yield from _content_lines(found)
    yield from _judgement_lines(found)


def _content_lines(found: CallDetails) -> Iterator[str]:
    content = found.call.content
    if content is None:
        yield "prompt and answer: not in the log (`log_content: redacted` of the feature stores them)"
        return
    for message in content.messages:
        yield f"--- {message.get('role', 'message')} ---"
        yield _text(message.get("content"))
    if content.output is not None:
        yield "--- answer ---"
        yield _text(content.output)


def _judgement_lines(found: CallDetails) -> Iterator[str]:
    from flowai.rendering.formatting import format_number
    from flowai.rendering.markdown import visible

    for feedback in found.feedback:
        yield f"feedback  {feedback.verdict}   {feedback.at:%Y-%m-%d %H:%M:%S} UTC"
        if feedback.text is not None:
            yield visible(feedback.text)
    for score in found.scores:
        value = "" if score.score is None else f" {format_number(score.score)}"
        judge = "" if score.judge is None else f"   {score.judge}"
        yield visible(f"score     {score.name}: {'passed' if score.passed else 'FAILED'}{value}{judge}")


def _text(value: Any) -> str:  # noqa: ANN401 - a message's content: text or parts
    import msgspec

    from flowai.rendering.markdown import visible

    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return visible(text).rstrip("\n")
