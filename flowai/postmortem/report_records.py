"""Records of a post-mortem: options, time range, report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.postmortem.analysis.records import Investigation
from flowai.releases.diff import Difference

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.postmortem.analysis.records import IncidentQuestion
    from flowai.releases.ledger import LedgerEntry

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PostmortemOptions:
    """Options of `flowai postmortem`."""

    since: str | None = None
    """Start, as typed; None for the newest rollback's."""
    until: str | None = None
    """End, as typed; None for that rollback, or now."""
    release: str | None = None
    """The release of the incident; None for the one that was rolled back."""
    env: str | None = None
    """None for FLOWAI_ENV or the only environment."""
    feature: str | None = None
    """None for all features."""
    adds_cases: bool = False
    """Whether the worst calls become regression cases."""
    outputs: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentWindow:
    """Time range and releases of an incident."""

    question: IncidentQuestion
    release: str | None
    """The release that was rolled back or named."""
    serving: str | None
    """The release that served afterwards."""
    rollback: LedgerEntry | None
    """The rollback in the time range."""
    steps: tuple[LedgerEntry, ...]
    """Other ledger entries in the time range, oldest first."""
    chosen_by: str
    """How the time range was chosen, for people."""
    warnings: tuple[str, ...] = ()


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the timeline."""

    at: str
    """RFC 3339, UTC."""
    what: str
    """`release`, `first bad call`, `more than usual`, `alert`, `canary report`, `rollback`, `recovery`."""
    detail: str
    after_s: int | None = None
    """Seconds since the first bad call; None before it, or without one."""


class AddedCases(msgspec.Struct, frozen=True, kw_only=True):
    """Result of adding the worst calls as regression cases."""

    files: dict[str, int]
    """Added cases by dataset."""
    already_present_count: int
    unasked_count: int
    """Calls without kept content, which cannot be repeated."""
    unfilled_count: int
    """Cases whose prompt variables could not be derived; they hold `request` instead."""


class PostmortemReport(msgspec.Struct, frozen=True, kw_only=True):
    """A post-mortem: a public format."""

    schema_version: int = SCHEMA_VERSION
    environment: str | None
    """None in a project without environments."""
    since: str
    """Start of the incident (RFC 3339, UTC)."""
    until: str
    """The rollback, or the requested end."""
    baseline_since: str
    """Start of the preceding time range that the incident is compared with."""
    chosen_by: str
    feature: str | None
    """None for all features."""
    release: str | None
    """The release of the incident; None if unknown."""
    serving: str | None
    """The release that it is compared with; None if unknown."""
    rollback_by: str | None
    """None without a rollback."""
    reason: str | None
    """Reason of the rollback, as given."""
    timeline: tuple[Moment, ...]
    """Oldest first."""
    investigation: Investigation
    differences: tuple[Difference, ...]
    """Differences of `release` from `serving`, by feature."""
    texts: dict[str, str]
    """Unified diff of each changed prompt, by `old -> new`."""
    follow_ups: tuple[str, ...]
    added: AddedCases | None
    """None unless requested."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PostmortemResult:
    """Result of `flowai postmortem`."""

    report: PostmortemReport
    directory: str
    """Directory of the report's files, as typed."""
