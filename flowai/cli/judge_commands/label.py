"""`flowai judge label`: options and screen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption

if TYPE_CHECKING:
    from flowai.review.label_session import LabelPageOpened, LabelReport

EXAMPLES = examples(
    "flowai judge label last",
    "flowai judge label summarization --since 7d --n 100",
    "flowai judge label --import labels-0412.jsonl --reviewer ann",
)


def command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    target: Annotated[
        str | None,
        typer.Argument(metavar="TARGET", help="Run (`last`, `0412`), file of labels, or feature with logged calls."),
    ] = None,
    reviewer: Annotated[
        str | None, typer.Option("--reviewer", metavar="NAME", help="Name of the reviewer; default your user name.")
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Start of a feature's time range: `7d`, `2026-05-02`.")
    ] = "7d",
    count: Annotated[
        int, typer.Option("--n", "-n", metavar="N", min=1, max=100_000, help="Calls of a feature, over all releases.")
    ] = 200,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 selects a free port.")
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open no browser.")] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write all labels to this .jsonl file.")
    ] = None,
    import_file: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Add the labels of this .jsonl file.")
    ] = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Label answers pass or fail on a local web page.

    Labels are stored in evals/judges/labels.jsonl; `flowai judge check` measures judges by them. Files that the compare
    page of a run saves can be imported. Ctrl-C ends the page. Exit status: 0, or 5 without an answer to label.
    """
    from flowai.cli import console
    from flowai.errors import UsageError
    from flowai.review.label_session import LabelPageOptions, export_labels, import_labels, run_label_page

    context = console.command_context(env)
    name = reviewer or console.current_user(os.environ).partition("@")[0]
    say = console.print_progress_line if json else console.print_line
    if import_file is None and export is None:
        if target is None:
            raise UsageError("missing TARGET", hint="a run (`last`), a file of labels, or a feature")
        options = LabelPageOptions(target=target, reviewer=name, since=since, max_count=count, port=port)
        screen = _LabelScreen(json=json, opens_browser=not no_browser)
        report = run_label_page(context, options, on_open=screen.opened, on_bug=console.print_traceback)
    if import_file is not None:
        added_count, report = import_labels(context, import_file, name)
        say(f"added {added_count:,} labels of {import_file}")
    if export is not None:
        report = export_labels(context, export)
        say(f"wrote {export}")
    if json:
        console.print_json(report)
    else:
        _show(report)


class _LabelScreen:
    """Prints the page's address; with --json to stderr."""

    def __init__(self, *, json: bool, opens_browser: bool) -> None:
        from flowai.cli import console
        from flowai.cli.finetune_commands.review import can_open_browser

        self._say = console.print_progress_line if json else console.print_line
        self._opens_browser = opens_browser and can_open_browser()

    def opened(self, opened: LabelPageOpened) -> None:
        from flowai.cli import console

        self._say(
            f"{opened.target}: {opened.remaining_count:,} of {opened.answer_count:,} answers wait for {opened.reviewer}"
        )
        self._say(f"{opened.addresses.reusable}   Ctrl-C ends it")
        console.flush()
        if self._opens_browser:
            import webbrowser

            webbrowser.open(opened.addresses.single_use)


def _show(report: LabelReport) -> None:
    from flowai.cli import console

    console.print_line(
        f"{report.pass_count:,} answers labelled pass, {report.fail_count:,} fail, {report.disputed_count:,} disputed"
    )
    for name, count in report.reviewers.items():
        console.print_line(f"  {name}  {count:,}")
    for agreement in report.agreement:
        kappa = "-" if agreement.kappa is None else f"{agreement.kappa:.2f}"
        console.print_line(
            f"{' and '.join(agreement.reviewers)}: the same on {agreement.agreed_count:,} of "
            f"{agreement.pairs_reviewed_by_both:,}, kappa {kappa}"
        )
    if report.reviewers:
        console.print_line(f"{report.file} holds every label; commit it")
        console.print_line("Then: flowai judge check SUITE --run RUN")
    else:
        console.print_line("nothing was labelled")
