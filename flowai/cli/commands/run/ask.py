"""`flowai ask`: options and screen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption, UseCache, Variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.events import CallEvent, Event
    from flowai.gateway.records import CompletionRequest, CompletionResult, StreamEvent
    from flowai.workspace.workspace import CommandContext

EXAMPLES = examples(
    "flowai ask summarization --var text=@notes.txt",
    "flowai ask summarization --var text=- --user ann --explain",
    "flowai ask --model gpt-4o-mini --message 'Name three colours.'",
)


def command(  # noqa: PLR0913, PLR0917 - a command's options
    feature: Annotated[str | None, typer.Argument(metavar="FEATURE", help="Feature; not with --model.")] = None,
    var: Variables = None,
    message: Annotated[
        str | None,
        typer.Option(
            "--message", "-m", metavar="TEXT", help="User message in place of a prompt; @FILE, or - for stdin."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Model of the registry, called without a feature.")
    ] = None,
    release: Annotated[
        str | None, typer.Option("--release", metavar="NAME", help="Release to use; default the one that serves.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="NAME", help="User; decides a rollout's variant. Only a hash is stored."),
    ] = None,
    cache: UseCache = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show release, attempts, cache, tokens, TTFT and cost on stderr.")
    ] = False,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Call a feature or a model once; the answer is streamed.

    The answer goes to stdout, all else to stderr. The call is like an application's (fallbacks, budgets, caches, event
    log), but its origin is `ask`: verdicts, metrics and training sets do not count it. Exit status: 0 answered, 2
    wrong usage, 3 project files are wrong, 4 no model answered.
    """
    import asyncio

    from flowai.cli import console
    from flowai.cli.variables import parse_variables, read_value
    from flowai.errors import InterruptedRunError, PromptError, UsageError
    from flowai.gateway.records import CompletionRequest

    if (feature is None) == (model is None):
        raise UsageError("expected FEATURE, or --model NAME with --message")
    request = CompletionRequest(
        feature=feature,
        model=model,
        variables=None if message is not None or feature is None else parse_variables(var or []),
        messages=None if message is None else ({"role": "user", "content": read_value(message, "--message")},),
        user=user,
        use_cache=console.uses_cache(console.command_context(env), cache),
    )
    if var and request.variables is None:
        raise UsageError("--var needs FEATURE, and excludes --message")
    screen = _Screen(explain=explain, json=json)
    try:
        asyncio.run(_ask(console.command_context(env), request, release, screen))
    except PromptError as error:
        if screen.is_open:  # the files are valid: the values are not
            raise UsageError(str(error), hint=error.hint or "pass values as --var NAME=TEXT") from None
        raise
    except KeyboardInterrupt:
        raise InterruptedRunError("interrupted before the answer was complete") from None
    except BrokenPipeError:  # typer would exit with 1
        console.discard_stdout()
    finally:
        screen.close()


async def _ask(context: CommandContext, request: CompletionRequest, release: str | None, screen: _Screen) -> None:
    from contextlib import aclosing
    from dataclasses import replace

    from flowai.gateway.gateway import Gateway
    from flowai.gateway.plan import FeatureToggles

    settings = replace(context.runtime_options(), on_event=screen.event, toggles=FeatureToggles(release=release))
    async with Gateway(context.directory, env=context.env, origin="ask", settings=settings) as gateway:
        screen.is_open = True
        for warning in (await gateway.status()).warnings:
            screen.warn(warning)
        async with aclosing(gateway.stream_request(request)) as items:
            async for item in items:
                screen.show(item)


class _Screen:
    """Prints the answer to stdout as it comes, and facts about the call to stderr."""

    def __init__(self, *, explain: bool, json: bool) -> None:
        self.is_open = False
        """The project was read without an error."""
        self._explain = explain
        self._json = json
        self._call: CallEvent | None = None
        self._last_char = "\n"

    def event(self, event: Event) -> None:
        """Keep the event of the call."""
        from flowai.events import CallEvent

        if isinstance(event, CallEvent):
            self._call = event

    def warn(self, warning: str) -> None:
        """Print a warning to stderr."""
        from flowai.cli import console

        console.print_progress_line(f"warning: {warning}")

    def show(self, item: StreamEvent) -> None:
        """Print the next part of the answer."""
        from flowai.gateway.records import CompletionResult, TextChunk

        if isinstance(item, CompletionResult):
            self._finish(item)
        elif isinstance(item, TextChunk) and not self._json:
            self._write(item.text)

    def close(self) -> None:
        """End the line of the answer; explain the call, also a failed one."""
        from flowai.cli import console

        self._end_line()
        if self._explain and not self._json and self._call is not None:
            from flowai.cli.call_view import call_lines

            for line in call_lines(self._call, console.terminal_width()):
                console.print_progress_line(line)

    def _finish(self, result: CompletionResult) -> None:
        from flowai.cli import console

        if self._json:
            console.print_json({"result": result, "call": self._call})
            return
        if result.tool_calls:
            import msgspec

            self._end_line()
            self._write(msgspec.json.encode(result.tool_calls).decode())
        self._end_line()
        if result.disclaimer:
            console.print_progress_line(f"degraded: {result.disclaimer}")
        if result.finish_reason == "length":
            console.print_progress_line("warning: the answer was cut at the token limit (finish reason `length`)")
        if not self._explain:
            console.print_progress_line("   ".join(_summary(result)))

    def _write(self, text: str) -> None:
        if not text:
            return
        from flowai.rendering.markdown import visible

        self._last_char = text[-1]
        sys.stdout.write(visible(text) if sys.stdout.isatty() else text)  # nothing in an answer moves a cursor
        sys.stdout.flush()

    def _end_line(self) -> None:
        if self._last_char != "\n":
            self._write("\n")


def _summary(result: CompletionResult) -> Iterator[str]:
    from flowai.rendering.formatting import dollars, duration

    if result.release is not None:
        yield f"{result.release}{'' if result.variant is None else f' {result.variant}'}"
    yield result.model if result.cache == "miss" else f"{result.model}, {result.cache} cache"
    yield duration(result.latency_ms)
    if result.input_tokens is not None and result.output_tokens is not None:
        yield f"{result.input_tokens:,} + {result.output_tokens:,} tokens"
    yield dollars(result.cost_usd) if result.cost_usd is not None else "cost unknown"
    yield f"call {result.call_id}"
