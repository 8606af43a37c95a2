"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout; progress goes to stderr.")]
Env = Annotated[
    str | None,
    typer.Option("--env", envvar="FLOWAI_ENV", help="Environment: reads registry.<env>.yaml over registry.yaml."),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Also write the report here: .json, .md, .xml or .html. Repeatable."
    ),
]
PageOutputs = Annotated[
    list[str] | None,
    typer.Option("--output", "-o", metavar="FILE", help="Also write it here: .json, .md or .html. Repeatable."),
]
# of commands that find out themselves which environments there are
AnyEnv = Annotated[
    str | None,
    typer.Option("--env", help="Environment (default FLOWAI_ENV); needed where there are several."),
]
State = Annotated[
    str | None,
    typer.Option("--state", metavar="PLACE", help="Where processes share what they know; default as registered."),
]
Until = Annotated[str | None, typer.Option("--until", help="End, written as the begin; default now.")]
OnlyFeature = Annotated[str | None, typer.Option("--feature", help="Only this feature.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; kept in the ledger.")]

# of commands that work on training pairs
PairsFeature = Annotated[str | None, typer.Option("--feature", help="Whose calls; default the only one there is.")]
AllPairs = Annotated[
    bool, typer.Option("--all", help="Every judged pair of the log, not only those that an export held back.")
]
PairsFile = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE", help="Pairs of this file; default the last export's quarantine.jsonl."),
]
PairsSince = Annotated[str | None, typer.Option("--since", help="With --all, begin: `30d`, `2026-05-02`.")]
