"""Records of `flowai secrets scan` and `check`: a public format. None holds a secret."""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec

SCHEMA_VERSION = 1

FindingKind = Literal["secret", "env_tracked", "env_readable"]
"""`env_tracked`: git tracks a `.env`. `env_readable`: other users can read it."""
Place = Literal["file", "staged"]


class SecretFinding(msgspec.Struct, frozen=True, kw_only=True):
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


class UnsearchedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was not searched."""

    file: str
    reason: str


class ScanReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a scan."""

    schema_version: int = SCHEMA_VERSION
    findings: tuple[SecretFinding, ...]
    """In the order of the files."""
    skipped: tuple[UnsearchedFile, ...]
    file_count: int
    """Searched files and staged versions."""
    size_bytes: int
    """Their total size."""
    is_repository: bool
    """Whether git told which files it tracks."""


KeyStatus = Literal["ok", "missing", "refused", "too_old", "unproven", "unreachable", "absent"]
"""The worst that is known. `unproven`: the provider lists its models without a key too, or could not be asked about it.
`unreachable`: it did not answer. `absent`: not there, and not needed: no feature uses it, or another key of its list is
there."""
LiveResult = Literal["works", "refused", "unproven", "unreachable", "not_asked"]


class CheckedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that the registry names."""

    name: str
    """Variable, `file:PATH`, or `models.NAME.api_key` for one that is written in the registry."""
    source: str | None
    """`environment`, `.env`, a file or directory of variables, `key file`, or `registry`; None if it is not there."""
    provider: str | None
    """None for a key of no model."""
    models: tuple[str, ...]
    """Names in the registry."""
    users: tuple[str, ...]
    """Features of the serving release and of a rollout's candidate, and settings of the registry (`alerts.webhook`)."""
    status: KeyStatus
    first_seen: date | None = None
    """Day on which AWS Secrets Manager got it, else of the first check that saw it; None if it is not there, or that
    could not be stored."""
    age_days: int | None = None
    """Days since `first_seen`: the key is at least as old."""
    live: LiveResult | None = None
    """None without `--live`."""
    reason: str | None = None
    """Why it is not `ok`; secrets redacted."""


class KeyReport(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a project."""

    schema_version: int = SCHEMA_VERSION
    release: str
    """The serving release."""
    max_age_days: int
    keys: tuple[CheckedKey, ...]
    """By name."""
    warnings: tuple[str, ...] = ()
