"""Finds the rollout to report on and the time range of each of its stages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from flowai.analytics.event_query import TimeRange
from flowai.comparison.spec import SETTLING_US, RolloutStage
from flowai.errors import InconclusiveError, UsageError
from flowai.releases.ledger import read_ledger
from flowai.timestamps import to_us

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from flowai.registry import Registry
    from flowai.releases.ledger import LedgerEntry
    from flowai.workspace.workspace import Workspace

UNKNOWN_BEGIN = timedelta(days=30)
"""Time range that is read if the start of the rollout is unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutHistory:
    """A rollout to judge."""

    candidate: str
    stages: tuple[RolloutStage, ...]
    """Oldest first; at least one."""
    is_active: bool = False
    """Whether it is the active rollout, at its stage of now."""
    doubts: tuple[str, ...] = ()
    """Reasons why its history is inconsistent."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    percent: int
    begin: datetime
    end: datetime
    is_known: bool


def rollout_of(
    workspace: Workspace,
    *,
    candidate: str | None,
    percent: int | None,
    since: datetime | None,
    until: datetime | None,
    now: datetime,
) -> RolloutHistory:
    """Return the rollout and its stages from `since` until before `until`.

    `candidate` is None for the active rollout's, `percent` its share if no ledger knows it. Raises InconclusiveError if
    no rollout is active and no candidate was named, or it has just started; UsageError if its stage is unknown.
    """
    registry = workspace.registry
    active = registry.rollout
    name = candidate or (active.candidate if active else None)
    if name is None:
        hint = "name a past one: `flowai canary-report --candidate v2`; start one: `flowai release publish`"
        raise InconclusiveError("no active rollout", hint=hint)
    registry.release(name)
    ledger = read_ledger(workspace.project, registry.environment)
    spans = list(_history([entry for entry in ledger.entries if name in (entry.release, *entry.rolled_back)], now))
    doubts: tuple[str, ...] = ()
    is_active = active is not None and active.candidate == name and percent is None
    if active is not None and is_active:
        percent = 0 if active.stage == "dogfood" else int(active.stage)
        if spans and spans[-1].percent != percent:
            text = f"stage {percent or 'dogfood'} in the registry, {spans[-1].percent or 'dogfood'} in the ledger"
            doubts = (f"{text}: was the registry edited by hand?",)
            spans = []
    if not spans:
        begin = (active.started_at if active is not None and active.candidate == name else None) or now - UNKNOWN_BEGIN
        if percent is None:
            raise UsageError(f"the stage of `{name}` is unknown", hint="name it: `--stage 5`")
        spans = [_Span(percent=percent, begin=begin, end=now, is_known=False)]
    stages = tuple(_stages(spans, registry, since, until))
    if not stages and since is None and until is None:
        raise InconclusiveError(f"the rollout of `{name}` has just started", hint="try again in a minute")
    if not stages:
        raise UsageError(
            "the rollout has no calls between `--since` and `--until`", hint=f"the rollout started at {spans[0].begin}"
        )
    return RolloutHistory(candidate=name, stages=stages, is_active=is_active, doubts=doubts, warnings=ledger.warnings)


def _history(entries: Sequence[LedgerEntry], now: datetime) -> Iterator[_Span]:
    """Yield the stages since the release was last published, from the ledger."""
    begins = [index for index, entry in enumerate(entries) if entry.action == "publish"]
    steps = [entry for entry in entries[begins[-1] if begins else 0 :] if entry.action in ("publish", "promote")]
    ends = [
        entry.at for entry in entries if entry.action in ("complete", "rollback") and steps and entry.at >= steps[-1].at
    ]
    closed = [*(entry.at for entry in steps[1:]), min([*ends, now])] if steps else []
    for entry, end in zip(steps, closed, strict=True):
        if isinstance(entry.to_stage, int) or entry.to_stage == "dogfood":
            percent = 0 if entry.to_stage == "dogfood" else int(entry.to_stage)
            yield _Span(percent=percent, begin=entry.at, end=end, is_known=True)


def _stages(
    spans: Sequence[_Span], registry: Registry, since: datetime | None, until: datetime | None
) -> Iterator[RolloutStage]:
    """Yield the stages, cut to the requested range; the first minute of each is left out."""
    for span in spans:
        begin_us = to_us(span.begin) + (SETTLING_US if span.is_known else 0)
        end_us = to_us(span.end)
        if since is not None:
            begin_us = max(begin_us, to_us(since))
        if until is not None:
            # the requested end may be after the last known stage: the stage went on
            end_us = to_us(until) if span is spans[-1] and not span.is_known else min(end_us, to_us(until))
        if begin_us >= end_us:
            continue
        late = span.percent < registry.policies.canary.critical_from
        critical = frozenset(name for name, feature in registry.features.items() if feature.critical and late)
        yield RolloutStage(
            percent=span.percent,
            time_range=TimeRange(since_us=begin_us, until_us=end_us),
            left_out=critical,
            shares_known=span.is_known,
        )
