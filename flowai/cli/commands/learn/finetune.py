"""`flowai finetune`: the group of the training set commands."""

from __future__ import annotations

import typer

from flowai.cli.finetune_commands import check, export, label, review
from flowai.cli.help_format import HelpCommand, HelpGroup, examples

app = typer.Typer(
    cls=HelpGroup,
    help="Build, review and check training sets from feedback.",
    epilog=examples(
        "flowai finetune export --feature summarization --format trl",
        "flowai finetune review --feature summarization",
        "flowai finetune check train.jsonl",
    ),
    no_args_is_help=True,
)
for _name, _module in (
    ("export", export),
    ("check", check),
    ("label", label),
    ("review", review),
):
    app.command(_name, cls=HelpCommand, epilog=_module.EXAMPLES)(_module.command)
