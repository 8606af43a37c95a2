"""Records of `flowai secrets scan`: a public format. None holds a secret."""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA_VERSION = 1

FindingKind = Literal["secret", "env_tracked", "env_readable"]
"""`env_tracked`: git tracks a `.env`. `env_readable`: other users can read it."""
Place = Literal["file", "staged"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A secret in a file, or a `.env` that others get."""

    kind: FindingKind
    file: str
    """Path from the working directory where possible."""
    place: Place = "file"
    """`staged`: in git's index, which the working tree no longer shows there."""
    line: int | None = None
    """From 1; None for a finding about the whole file."""
    column: int | None = None
    """In characters, from 1."""
    shape: str | None = None
    """Name of the pattern, as in `[REDACTED:openai]`."""
    masked: str | None = None
    """Public prefix of the secret and its length."""
    hint: str


class SkippedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was not searched."""

    file: str
    reason: str


class ScanReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan found."""

    schema_version: int = SCHEMA_VERSION
    findings: tuple[Finding, ...]
    """In the order of the files."""
    skipped: tuple[SkippedFile, ...]
    file_count: int
    """Searched files and staged versions."""
    size_bytes: int
    """Their total size."""
    is_repository: bool
    """Whether git told which files it tracks."""
