"""Chooses the time range of an incident and the one that it is compared with."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from flowai.analytics.event_query import CLOCK_SKEW_S, TimeRange
from flowai.errors import InconclusiveError, UsageError
from flowai.postmortem.analysis.records import IncidentQuestion
from flowai.postmortem.report_records import IncidentWindow
from flowai.rendering.formatting import count
from flowai.timestamps import parse_moment, to_us

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from flowai.postmortem.report_records import PostmortemOptions
    from flowai.releases.ledger import Ledger, LedgerEntry

BEFORE_ROLLBACK = timedelta(hours=1)
"""Start of the incident before a rollback, if no rollout has a start."""
SETTLING = timedelta(minutes=1)
"""Calls in progress when a release was rolled back still count to it."""
MIN_SPAN = timedelta(hours=1)
"""Minimum of the baseline and of the time after a rollback."""
MAX_BASELINE = timedelta(hours=24)
BASELINE_TIMES = 3
"""Length of the baseline as a multiple of the incident's."""


def choose_window(ledger: Ledger, options: PostmortemOptions, *, current: str | None, now: datetime) -> IncidentWindow:
    """Choose the time ranges of an incident; `current` is the registry's release, for ledgers without one.

    Raises InconclusiveError if no start was named and the ledger has no rollback.
    """
    past = [entry for entry in ledger.entries if entry.at <= now + timedelta(seconds=CLOCK_SKEW_S)]
    warnings = [*ledger.warnings]
    if len(past) < len(ledger.entries):
        skipped = count(len(ledger.entries) - len(past), "step")
        warnings.append(f"skipped {skipped} of the ledger in the future")
    since = None if options.since is None else parse_moment(options.since, now=now, option="--since")
    end = None if options.until is None else parse_moment(options.until, now=now, option="--until")
    rollback = _rollback(past, options.release, since, end or now)
    if since is None:
        since, chosen_by = _begin(past, rollback, options.release)
    else:
        chosen_by = "--since"
    if since >= min(end or now, now):
        raise UsageError("the incident ends before its start", hint=f"it starts at {since}")
    until = min(end or now, now)
    if rollback is not None and rollback.at + SETTLING < until:
        until = rollback.at + SETTLING
    elif rollback is None:
        warnings.append("no rollback in this time range of the ledger")
    return IncidentWindow(
        question=_incident_question(since, until, end, options.feature, now),
        release=options.release or (rollback.release if rollback else None),
        serving=rollback.serving if rollback and rollback.serving else None if current == options.release else current,
        rollback=rollback,
        steps=tuple(entry for entry in past if entry is not rollback and since <= entry.at <= (end or now)),
        chosen_by=chosen_by,
        warnings=tuple(warnings),
    )


def _rollback(
    past: Sequence[LedgerEntry], release: str | None, since: datetime | None, end: datetime
) -> LedgerEntry | None:
    """Return the relevant rollback: the first one after a given start, else the newest."""
    rollbacks = [
        entry
        for entry in past
        if entry.action == "rollback"
        and (release is None or release in (entry.release, *entry.rolled_back))
        and entry.at <= end
        and (since is None or entry.at >= since)
    ]
    if not rollbacks:
        return None
    return max(rollbacks, key=lambda entry: entry.at) if since is None else min(rollbacks, key=lambda entry: entry.at)


def _begin(past: Sequence[LedgerEntry], rollback: LedgerEntry | None, release: str | None) -> tuple[datetime, str]:
    """Return the start of the faulty release: its rollout's, else an hour before the rollback."""
    at = rollback.at if rollback else None
    name = rollback.release if rollback else release
    publishes = [
        entry for entry in past if entry.release == name and entry.action == "publish" and (at is None or entry.at < at)
    ]
    if rollback is not None and rollback.from_stage is None:
        publishes = []  # no rollout was active: the release had served everybody for a long time
    if publishes:
        chosen_by = (
            f"the rollback of `{name}` and the start of its rollout"
            if rollback
            else f"the start of the rollout of `{name}`"
        )
        return max(entry.at for entry in publishes), chosen_by
    if rollback is not None:
        return rollback.at - BEFORE_ROLLBACK, f"an hour before the rollback of `{rollback.release}`"
    about = "" if release is None else f" of `{release}`, nor its rollout"
    raise InconclusiveError(
        f"no rollback{about} in the ledger", hint="name its start: `flowai postmortem --since 02:10`"
    )


def _incident_question(
    since: datetime, until: datetime, end: datetime | None, feature: str | None, now: datetime
) -> IncidentQuestion:
    span = until - since
    baseline = min(MAX_BASELINE, max(MIN_SPAN, BASELINE_TIMES * span))
    later = end if end is not None and end > until else until + max(MIN_SPAN, min(span, MAX_BASELINE))
    return IncidentQuestion(
        incident=TimeRange(since_us=to_us(since), until_us=to_us(until)),
        baseline=TimeRange(since_us=to_us(since - baseline), until_us=to_us(since)),
        after=TimeRange(since_us=to_us(until), until_us=max(to_us(until) + 1, to_us(min(later, now)))),
        feature=feature,
        now_us=to_us(now) + CLOCK_SKEW_S * 1_000_000,
    )
