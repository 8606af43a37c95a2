"""Options that several commands share, declared once.

In: nothing. Out: annotated types for typer. Must never know what a command does with them.
"""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout; progress goes to stderr.")]
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
