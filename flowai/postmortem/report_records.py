"""The records of a post-mortem: what was asked, which stretch it is about, and the whole report."""

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
    """What the command was asked."""

    since: str | None = None
    """Begin, as typed; None for what the newest rollback left."""
    until: str | None = None
    """End, as typed; None for that rollback, or now."""
    release: str | None = None
    """The release that is looked into; None for the one that was rolled back."""
    env: str | None = None
    """The environment; None for FLOWAI_ENV or the only one."""
    feature: str | None = None
    """Only this one."""
    adds_cases: bool = False
    """Whether the worst calls become regression cases."""
    outputs: tuple[Path, ...] = ()
    """More files to write."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentWindow:
    """Which stretch is looked into."""

    question: IncidentQuestion
    """The stretches."""
    release: str | None
    """The release that was left; None where none was, and none was named."""
    serving: str | None
    """What served instead; None where that is not known."""
    rollback: LedgerEntry | None
    """The rollback in the stretch; None where there was none."""
    steps: tuple[LedgerEntry, ...]
    """Other steps of the ledger in the stretch, oldest first."""
    chosen_by: str
    """What decided the stretch, in words."""
    warnings: tuple[str, ...] = ()
    """What a person should know."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the timeline."""

    at: str
    """When (RFC 3339, UTC)."""
    what: str
    """`release`, `first bad call`, `more than usual`, `alert`, `canary report`, `rollback`, `recovery`."""
    detail: str
    """In words."""
    after_s: int | None = None
    """Seconds since the first bad call; None before it, or where there is none."""


class AddedCases(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the worst calls as regression cases."""

    files: dict[str, int]
    """Cases that were added, by dataset."""
    already_present_count: int
    """Cases that were there already."""
    unasked_count: int
    """Calls whose content was not kept, so that there is nothing to ask again."""
    unfilled_count: int
    """Cases of which the prompt's variables could not be told; they hold `request` instead."""


class PostmortemReport(msgspec.Struct, frozen=True, kw_only=True):
    """A post-mortem: a public format."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format: 1."""
    environment: str | None
    """The environment; None for the plain registry."""
    since: str
    """Begin of the incident (RFC 3339, UTC)."""
    until: str
    """Its end: the rollback, or what was asked for."""
    baseline_since: str
    """Begin of the stretch before it that it is compared with."""
    chosen_by: str
    """What decided the stretch."""
    feature: str | None
    """The only feature that was looked at; None for all."""
    release: str | None
    """The release that is looked into; None where none is known."""
    serving: str | None
    """What it is compared with; None where nothing is known."""
    rollback_by: str | None
    """Who rolled it back; None where nobody did."""
    reason: str | None
    """Why, in that person's words."""
    timeline: tuple[Moment, ...]
    """Oldest first."""
    investigation: Investigation
    """What the log says."""
    differences: tuple[Difference, ...]
    """What features use in `release` instead of what `serves` uses."""
    texts: dict[str, str]
    """Unified diff of each changed prompt, by `old -> new`."""
    follow_ups: tuple[str, ...]
    """What to do, drafted from the findings."""
    added: AddedCases | None
    """Regression cases; None unless they were asked for."""
    warnings: tuple[str, ...]
    """What a person should know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PostmortemResult:
    """What came of the command."""

    report: PostmortemReport
    """The report."""
    directory: str
    """Where its files lie, as a person would type it."""
