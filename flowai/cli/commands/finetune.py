"""`flowai finetune`: from logs to a training set; the group its commands hang on."""

from __future__ import annotations

import typer

from flowai.cli.commands.finetune_check import command as check
from flowai.cli.commands.finetune_export import command as export
from flowai.cli.commands.finetune_label import command as label
from flowai.cli.commands.finetune_review import command as review

app = typer.Typer(help="Make a training set of what users accepted and edited; check one.", no_args_is_help=True)
app.command("export")(export)
app.command("check")(check)
app.command("label")(label)
app.command("review")(review)
