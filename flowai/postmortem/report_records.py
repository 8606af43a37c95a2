"""The records of a post-mortem: what was asked, which stretch it is about, and the whole report.

In: nothing. Out: records. Must never know how any of it is found.
"""

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
    """What the command was asked.

    Args:
        since: begin, as typed; None for what the newest rollback left.
        until: end, as typed; None for that rollback, or now.
        release: the release that is looked into; None for the one that was rolled back.
        env: the environment; None for FLOWAI_ENV or the only one.
        feature: only this one.
        adds_cases: whether the worst calls become regression cases.
        outputs: more files to write.
    """

    since: str | None = None
    until: str | None = None
    release: str | None = None
    env: str | None = None
    feature: str | None = None
    adds_cases: bool = False
    outputs: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentWindow:
    """Which stretch is looked into.

    Args:
        question: the stretches.
        release: the release that was left; None where none was, and none was named.
        serves: what served instead; None where that is not known.
        rollback: the rollback in the stretch; None where there was none.
        steps: other steps of the ledger in the stretch, oldest first.
        chosen_by: what decided the stretch, in words.
        warnings: what a person should know.
    """

    question: IncidentQuestion
    release: str | None
    serving: str | None
    rollback: LedgerEntry | None
    steps: tuple[LedgerEntry, ...]
    chosen_by: str
    warnings: tuple[str, ...] = ()


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the timeline.

    Args:
        at: when (RFC 3339, UTC).
        what: `release`, `first bad call`, `more than usual`, `alert`, `canary report`, `rollback`, `recovery`.
        detail: in words.
        after_s: seconds since the first bad call; None before it, or where there is none.
    """

    at: str
    what: str
    detail: str
    after_s: int | None = None


class AddedCases(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the worst calls as regression cases.

    Args:
        files: cases that were added, by dataset.
        known_count: cases that were there already.
        unasked_count: calls whose content was not kept, so that there is nothing to ask again.
        unfilled_count: cases of which the prompt's variables could not be told; they hold `request` instead.
    """

    files: dict[str, int]
    already_present_count: int
    unasked_count: int
    unfilled_count: int


class PostmortemReport(msgspec.Struct, frozen=True, kw_only=True):
    """A post-mortem: a public format.

    Args:
        schema_version: version of this format: 1.
        environment: the environment; None for the plain registry.
        since: begin of the incident (RFC 3339, UTC).
        until: its end: the rollback, or what was asked for.
        baseline_since: begin of the stretch before it that it is compared with.
        chosen_by: what decided the stretch.
        feature: the only feature that was looked at; None for all.
        release: the release that is looked into; None where none is known.
        serves: what it is compared with; None where nothing is known.
        rollback_by: who rolled it back; None where nobody did.
        reason: why, in that person's words.
        timeline: oldest first.
        investigation: what the log says.
        differences: what features use in `release` instead of what `serves` uses.
        texts: unified diff of each changed prompt, by `old -> new`.
        follow_ups: what to do, drafted from the findings.
        added: regression cases; None unless they were asked for.
        warnings: what a person should know.
    """

    schema_version: int = SCHEMA_VERSION
    environment: str | None
    since: str
    until: str
    baseline_since: str
    chosen_by: str
    feature: str | None
    release: str | None
    serving: str | None
    rollback_by: str | None
    reason: str | None
    timeline: tuple[Moment, ...]
    investigation: Investigation
    differences: tuple[Difference, ...]
    texts: dict[str, str]
    follow_ups: tuple[str, ...]
    added: AddedCases | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PostmortemResult:
    """What came of the command.

    Args:
        report: the report.
        directory: where its files lie, as a person would type it.
    """

    report: PostmortemReport
    directory: str
