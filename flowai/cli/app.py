"""Entry point of the command line; here errors become text and exit codes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import Abort, TyperException

from flowai import __version__
from flowai.cli import console, streams
from flowai.cli.command_group import CommandGroup
from flowai.cli.help_format import examples
from flowai.errors import ExitCode, FlowaiError, InfrastructureError, InterruptedRunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

ENDLESS_COMMANDS = frozenset({"ask", "serve", "watch"})
"""Commands that end when the reader of their output is gone; the others finish their work."""
DECIDING_COMMANDS = frozenset(
    {"canary-report", "drift", "eval", "experiment", "judge", "release", "rollback", "secrets", "smoke", "upgrade"}
)
"""Commands whose exit status is a decision or tells of a change: it is the same when their output is lost."""

DEBUG_FLAG = "--debug"  # removed before parsing: allowed at every position

app = typer.Typer(
    name="flowai",
    cls=CommandGroup,
    help="Carry a prompt or model change from idea to production and back.",
    epilog=examples("flowai eval", "flowai release publish v3", "flowai rollback --reason INC-4711"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich costs 0.15 s at every --help
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(is_set: bool) -> None:
    if is_set:
        sys.stdout.write(f"flowai {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG_FLAG, help="Show a traceback if a command fails.")] = False,
) -> None:
    """Carry a prompt or model change from idea to production and back."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: without the program's name; default those of the process.
    """
    if not sys.warnoptions:
        import warnings

        warnings.simplefilter("ignore")  # libraries' advice to programmers; -W and PYTHONWARNINGS still show it
    given = sys.argv[1:] if arguments is None else arguments
    streams.install(stops=_name_of(given) in ENDLESS_COMMANDS or not {"--watch", "-w"}.isdisjoint(given))
    code = run(given)
    sys.stdout.flush()
    problem = streams.lost_output()
    if problem is not None and code == ExitCode.DONE and _name_of(given) not in DECIDING_COMMANDS:
        console.print_error(
            InfrastructureError(f"stdout cannot be written: {problem}", hint="the output is incomplete")
        )
        code = ExitCode.INFRASTRUCTURE
    sys.exit(code)


def _name_of(arguments: Sequence[str]) -> str | None:
    """Return the name of the command that the arguments begin with."""
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status; print errors, never raise.

    Args:
        arguments: without the program's name.
    """
    debug = DEBUG_FLAG in arguments
    # typer checks options with pydantic, which would search every installed package for plugins: 0.05 s per command
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        _check_arguments(arguments)
        result = app([argument for argument in arguments if argument != DEBUG_FLAG], standalone_mode=False)
    except FlowaiError as error:
        if debug:
            console.print_traceback(error)
        console.print_error(error)
        return error.exit_code
    except TyperException as error:
        console.print_error(UsageError(_lower_first(error.format_message()), hint="`flowai --help` lists commands"))
        return ExitCode.USAGE
    except (KeyboardInterrupt, Abort):
        console.print_error(InterruptedRunError("interrupted"))
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        console.discard_stdout()
        return ExitCode.DONE
    except Exception as error:  # noqa: BLE001 - any other exception is a bug
        if debug:
            console.print_traceback(error)
        hint = "this is a bug in flowai; run it again with --debug and report the traceback"
        console.print_error(FlowaiError(f"{type(error).__name__}: {error}", hint=hint))
        return ExitCode.BUG
    return int(result or 0)


def _check_arguments(arguments: Sequence[str]) -> None:
    """Raise on an argument that is not UTF-8: ledger, reports and events cannot contain it."""
    for number, argument in enumerate(arguments, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode(errors="backslashreplace").decode()
            raise UsageError(f"argument {number}: found `{shown}`, expected UTF-8") from None


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
