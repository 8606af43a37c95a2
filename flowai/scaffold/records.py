"""Records of `init`: what became of each file, and what to do next."""

from __future__ import annotations

from typing import Literal

import msgspec

from flowai.evals.importers.records import Omission

SCHEMA_VERSION = 1

FileStatus = Literal["wrote", "added", "updated", "unchanged", "left"]
"""`added`: lines at the end of the user's file. `updated`: a file of flowai's own. `left`: another one exists."""


class FileOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the project and what became of it."""

    path: str
    """From the project's root."""
    status: FileStatus
    reason: str | None = None
    """Lines that were added, or why the file was left; None where the status is enough."""


class InitReport(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of `init`."""

    schema_version: int = SCHEMA_VERSION
    root: str
    is_existing_project: bool
    """Whether the folder had a registry of its own, which decides about prompts, suites and datasets."""
    files: tuple[FileOutcome, ...]
    not_taken: tuple[Omission, ...] = ()
    """Parts of the imported export that have no counterpart here."""
    notes: tuple[str, ...] = ()
    steps: tuple[str, ...]
    """Commands to type next, in order."""
