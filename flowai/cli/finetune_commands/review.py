"""`flowai finetune review`: options and screen."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import AllPairs, Env, JsonOption, PairsFeature, PairsFile, PairsSince

if TYPE_CHECKING:
    from flowai.review.review import ReviewOpened, ReviewResult
    from flowai.workspace.workspace import CommandContext

_MAX_SHOWN = 10

EXAMPLES = examples(
    "flowai finetune review --feature summarization",
    "flowai finetune review --feature summarization --import from-bob.csv",
    "flowai finetune review --feature summarization --export decisions.csv",
)


def command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    feature: PairsFeature = None,
    reviewer: Annotated[
        str | None, typer.Option("--reviewer", metavar="NAME", help="Name of the reviewer; default your user name.")
    ] = None,
    everything: AllPairs = False,
    source: PairsFile = None,
    since: PairsSince = None,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 selects a free port.")
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open no browser.")] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write all decisions to this .csv or .jsonl file.")
    ] = None,
    import_file: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Add the decisions of this .csv or .jsonl file.")
    ] = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Accept, edit or reject training pairs on a local web page.

    Decisions are stored in finetune/FEATURE/decisions.jsonl; the next export applies them. Ctrl-C ends the review. Exit
    status: 0, or 5 if the review queue is empty.
    """
    from flowai.cli import console
    from flowai.review.candidates import CandidateSelection
    from flowai.review.review import ReviewOptions, run_review

    context = console.command_context(env)
    screen = _ReviewScreen(json=json, opens_browser=not no_browser)
    if export is not None or import_file is not None:
        reviewed = _pass_on(context, feature, export, import_file, screen)
    else:
        options = ReviewOptions(
            selection=CandidateSelection(feature=feature, source=source, everything=everything, since=since),
            reviewer=reviewer or console.current_user(os.environ).partition("@")[0],
            port=port,
        )
        reviewed = run_review(context, options, on_open=screen.opened, on_bug=screen.show_error)
    if json:
        console.print_json(reviewed)
    else:
        _show(reviewed)


def _pass_on(
    context: CommandContext, feature: str | None, export: Path | None, import_file: Path | None, screen: _ReviewScreen
) -> ReviewResult:
    """Import decisions, then export them."""
    from flowai.review.review import export_decisions, import_decisions

    if import_file is not None:
        added_count, reviewed = import_decisions(context, feature, import_file)
        screen.say(f"added {added_count:,} decisions of {import_file}")
    if export is not None:
        reviewed = export_decisions(context, feature, export)
        screen.say(f"wrote {export}")
    return reviewed


class _ReviewScreen:
    """Prints progress; with --json to stderr."""

    def __init__(self, *, json: bool, opens_browser: bool) -> None:
        from flowai.cli import console

        self.say = console.print_progress_line if json else console.print_line
        self._opens_browser = opens_browser and can_open_browser()

    def opened(self, opened: ReviewOpened) -> None:
        from flowai.cli import console

        for warning in opened.warnings:
            console.print_progress_line(f"warning: {warning}")
        self.say(
            f"{opened.feature}: {opened.remaining_count:,} of {opened.pair_count:,} pairs wait for {opened.reviewer}"
        )
        self.say(f"{opened.addresses.reusable}   Ctrl-C ends it")
        console.flush()
        if self._opens_browser:
            import webbrowser

            webbrowser.open(opened.addresses.single_use)

    def show_error(self, error: BaseException) -> None:
        from flowai.cli import console

        console.print_traceback(error)


def can_open_browser() -> bool:
    """Return whether a person watches and a browser can open a window: a text browser would take over the terminal."""
    has_screen = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return has_screen and sys.stdout.isatty()


def _show(reviewed: ReviewResult) -> None:
    from flowai.cli import console

    for warning in reviewed.warnings:
        console.print_line(f"warning: {warning}")
    actions = ", ".join(f"{action} {count:,}" for action, count in reviewed.actions.items())
    console.print_line(f"{reviewed.decided_count:,} pairs decided ({actions})")
    for name, count in reviewed.reviewers.items():
        console.print_line(f"  {name}  {count:,}")
    for agreement in reviewed.agreement:
        kappa = "-" if agreement.kappa is None else f"{agreement.kappa:.2f}"
        names = " and ".join(agreement.reviewers)
        console.print_line(
            f"{names}: the same on {agreement.agreed_count:,} of {agreement.pairs_reviewed_by_both:,}, kappa {kappa}"
        )
    for pair, decisions in list(reviewed.disputed.items())[:_MAX_SHOWN]:
        console.print_line(f"DISPUTED  {pair}   {decisions}")
    if len(reviewed.disputed) > _MAX_SHOWN:
        console.print_line(f"DISPUTED  and {len(reviewed.disputed) - _MAX_SHOWN:,} more")
    if reviewed.disputed:
        console.print_line("disputed pairs stay out until more reviewers say the same than anything else")
    if reviewed.reviewers:
        console.print_line(f"{reviewed.file} holds every decision; commit it")
        console.print_line(f"Then: flowai finetune export --feature {reviewed.feature} --force")
    else:
        console.print_line("nothing was decided")
