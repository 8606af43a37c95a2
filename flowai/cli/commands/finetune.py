"""`flowai finetune`: the group of the training set commands."""

from __future__ import annotations

import typer

from flowai.cli.commands import finetune_check, finetune_export, finetune_label, finetune_review
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
    ("export", finetune_export),
    ("check", finetune_check),
    ("label", finetune_label),
    ("review", finetune_review),
):
    app.command(_name, cls=HelpCommand, epilog=_module.EXAMPLES)(_module.command)
