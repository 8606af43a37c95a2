"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout; progress goes to stderr.")]
Env = Annotated[
    str | None,
    typer.Option(
        "--env", metavar="NAME", envvar="FLOWAI_ENV", help="Environment: registry.NAME.yaml overrides registry.yaml."
    ),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Also write the report to this .json, .md, .xml or .html file. Repeatable.",
    ),
]
Comment = Annotated[
    Path | None,
    typer.Option("--comment", metavar="FILE", help="Also write a short report to this file, as a comment in Markdown."),
]
PageOutputs = Annotated[
    list[str] | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Also write the report to this .json, .md or .html file. Repeatable."
    ),
]
# of commands that search for environments themselves
AnyEnv = Annotated[
    str | None,
    typer.Option("--env", metavar="NAME", help="Environment; default FLOWAI_ENV. Required if the project has several."),
]
State = Annotated[
    str | None,
    typer.Option(
        "--state", metavar="PLACE", help="Shared state: a Redis URL or a directory; default the registry's `state`."
    ),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="End of the time range, written like --since; default now."),
]
OnlyFeature = Annotated[str | None, typer.Option("--feature", metavar="NAME", help="Report only this feature.")]
UseCache = Annotated[
    bool | None,
    typer.Option(
        "--cache/--no-cache",
        show_default=False,
        help="Use cached answers, or call the models in any case; default --cache, with CI=true --no-cache.",
    ),
]
SuiteConcurrency = Annotated[
    int | None,
    typer.Option(
        "--max-concurrency",
        "-j",
        metavar="N",
        min=1,
        max=1000,
        show_default=False,
        help="Maximum number of concurrent calls; default the suite's, else 8.",
    ),
]
JudgeConcurrency = Annotated[
    int,
    typer.Option("--max-concurrency", "-j", metavar="N", min=1, max=100, help="Maximum number of concurrent calls."),
]
Variables = Annotated[
    list[str] | None,
    typer.Option(
        "--var",
        metavar="NAME=VALUE",
        help="Variable of the prompt: NAME=TEXT, NAME=@FILE, NAME=- for stdin, NAME:=JSON. Repeatable.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done and change nothing.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Reason, recorded in the ledger.")]

# of commands that work on training pairs
PairsFeature = Annotated[
    str | None,
    typer.Option("--feature", metavar="NAME", help="Feature; required if there are several."),
]
AllPairs = Annotated[
    bool, typer.Option("--all", help="Use every judged pair of the log, not only those that an export quarantined.")
]
PairsFile = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE", help="Use the pairs of this file; default the last quarantine.jsonl."),
]
PairsSince = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="With --all: start of the time range: `30d`, `2026-05-02`."),
]
