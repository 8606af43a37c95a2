"""What `flowai finetune check` does: holds a training file against its format.

In: options. Out: a CheckReport. Must never know how it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.finetune.check import CheckOptions, check_file
from flowai.finetune.formats import format_of

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.finetune.check_model import CheckReport


@dataclass(frozen=True, kw_only=True, slots=True)
class FileToCheck:
    """What the command was asked.

    Args:
        file: the file.
        format: the format, as typed; None to tell it by the rows' keys.
        max_tokens: the most tokens a row may have; None for no limit.
        model: the model that will be trained; None where nobody said.
        show_count: how many errors, and how many warnings, are listed with their places.
    """

    file: Path
    format: str | None = None
    max_tokens: int | None = None
    model: str | None = None
    show_count: int = 20


def run_finetune_check(asked: FileToCheck) -> CheckReport:
    """Check the file; it needs no project.

    Raises:
        UsageError: an option is wrong.
        DatasetError: the file is missing, a directory, or not readable.
    """
    if asked.max_tokens is not None and asked.max_tokens <= 0:
        raise UsageError(f"--max-tokens: found {asked.max_tokens}, expected more than 0")
    if asked.show_count < 0:
        raise UsageError(f"--show: found {asked.show_count}, expected 0 or more")
    options = CheckOptions(
        format=None if asked.format is None else format_of(asked.format).name,
        max_tokens=asked.max_tokens,
        model=asked.model,
        most_problems_count=asked.show_count,
    )
    return check_file(asked.file, str(asked.file), options)
