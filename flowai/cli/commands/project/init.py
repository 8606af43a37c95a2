"""`flowai init`: options and screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import JsonOption

if TYPE_CHECKING:
    from flowai.scaffold import InitReport

EXAMPLES = examples(
    "flowai init",
    "flowai init assistant --provider openai",
    "flowai init --provider http://127.0.0.1:11434/v1 --model llama3.2",
    "flowai init --from eval.json --from items.jsonl",
)


def command(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder of the project; default the current one.")
    ] = None,
    provider: Annotated[
        str,
        typer.Option(
            "--provider",
            metavar="NAME",
            help="`local` (the embedded model), `openai`, `anthropic`, or the base URL of an endpoint.",
        ),
    ] = "local",
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Model behind a URL; default the first that it lists."),
    ] = None,
    exports: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", metavar="FILE", help="Also import this eval, dataset or prompt of another tool. Repeatable."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a working project into a new or existing folder.

    Registry, two prompts, suites, datasets, a smoke test and jobs for GitHub and GitLab. A file that exists is left and
    named; run it again after an interruption, and it writes what is missing. In a folder that has a registry, its
    prompts, suites and datasets are not touched. Exit status: 0; 3 if the folder has a project that cannot be read; 4
    if a file cannot be written.
    """
    import os

    from flowai.cli import console
    from flowai.scaffold import InitOptions, initialise

    here = Path.cwd()
    report = initialise(
        InitOptions(
            directory=here / (directory or "."),
            provider=provider,
            model=model,
            exports=tuple(exports or ()),
            here=here,
            environ=os.environ,
        )
    )
    if json:
        console.print_json(report)
    else:
        _show(report)


def _show(report: InitReport) -> None:
    from flowai.cli import console
    from flowai.cli.import_view import print_omissions
    from flowai.rendering.formatting import aligned, wrapped

    rows = [(file.status, file.path, file.reason or "") for file in report.files]
    for line in aligned(rows):
        console.print_line(line)
    if report.not_taken:
        print_omissions(report.not_taken)
    width = console.terminal_width()
    for note in report.notes:
        for line in wrapped(f"note: {note}", width):
            console.print_line(line)
    console.print_line()
    for number, step in enumerate(report.steps):
        console.print_line(f"{'then' if number else 'next'}: {step}")
