"""`flowai judge`: the group of the judges' commands."""

from __future__ import annotations

import typer

from flowai.cli.help_format import HelpCommand, HelpGroup, examples
from flowai.cli.judge_commands import check, label, sample

app = typer.Typer(
    cls=HelpGroup,
    help="Label answers, measure judges, judge logged answers.",
    epilog=examples(
        "flowai judge label last",
        "flowai judge check evals/answers.yaml",
        "flowai judge sample --since 24h --n 200",
    ),
    no_args_is_help=True,
)
for _name, _module in (
    ("label", label),
    ("check", check),
    ("sample", sample),
):
    app.command(_name, cls=HelpCommand, epilog=_module.EXAMPLES)(_module.command)
