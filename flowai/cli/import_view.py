"""Screen of what an import did not take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.evals.importers.records import Omission


def print_omissions(omissions: Iterable[Omission]) -> None:
    """Print the parts of an export that have no counterpart, as a table below a line of its own."""
    from flowai.cli import console
    from flowai.rendering.formatting import aligned
    from flowai.rendering.markdown import one_line

    console.print_line()
    console.print_line("not taken, or only approximately:")
    rows = [(one_line(Path(o.file).name, 40), one_line(o.key, 60), one_line(o.reason, 160)) for o in omissions]
    for line in aligned([("file", "key", "reason"), *rows], "<<<"):
        console.print_line(line.rstrip())
