"""Records of an import: the files to write, and the parts of the export that have no counterpart here."""

from __future__ import annotations

import msgspec


class ImportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file to write."""

    path: str
    """From the folder that the import writes to (`evals/summary.yaml`)."""
    text: str


class Omission(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an export that was not taken, or only approximately."""

    file: str
    key: str
    """Path of the part in its file (`testing_criteria.2`)."""
    reason: str


class ImportPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of reading an export; nothing is written yet."""

    format: str
    """Name of the export's format (`OpenAI Evals`)."""
    files: tuple[ImportedFile, ...] = ()
    omissions: tuple[Omission, ...] = ()
    models: tuple[str, ...] = ()
    """Models that the suites name."""
    target: str
    """Suite or prompt to run, from the folder that the import writes to."""
    outputs: str | None = None
    """File of recorded answers, from that folder."""
    notes: tuple[str, ...] = ()
    """Steps for the user before the first run."""
