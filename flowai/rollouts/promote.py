"""`flowai release promote`: moves a rollout to its next stage; after the last one the release becomes current."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, InconclusiveError, InfrastructureError, UsageError
from flowai.prompts import PromptLibrary, PromptLock
from flowai.registry import Rollout
from flowai.releases.integrity import integrity_problem
from flowai.releases.ledger import LedgerEntry, entry_id
from flowai.releases.ledger_steps import find_inconsistencies
from flowai.releases.stages import (
    FULL_ROLLOUT,
    CanaryReportSummary,
    StageEvidence,
    StageNumber,
    canary_evidence,
    dogfood_evidence,
    newly_exposed,
    next_stage,
    soak_evidence,
    stage_started_at,
    with_blocker,
)
from flowai.rollouts.notify import RolloutNotifier
from flowai.rollouts.records import RollbackStep
from flowai.rollouts.session import open_rollout_session
from flowai.timestamps import parse_rfc3339, to_us
from flowai.workspace.event_source import open_event_source

if TYPE_CHECKING:
    from flowai.analytics.usage import UsageReport
    from flowai.registry.writer import ManagedKeys
    from flowai.rollouts.session import RolloutSession
    from flowai.workspace.workspace import CommandContext


@dataclass(frozen=True, kw_only=True, slots=True)
class PromoteOptions:
    """Options of `flowai release promote`."""

    release: str | None = None
    """Expected candidate; None for any."""
    env: str | None = None
    """None for FLOWAI_ENV or the only environment."""
    force: bool = False
    """Whether to promote without evidence; requires a reason."""
    reason: str | None = None


class PromoteResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `flowai release promote`."""

    schema_version: int = 1
    environment: str | None
    """Environment; None for the plain registry."""
    release: str
    """Candidate."""
    from_stage: int | str
    to_stage: int | str | None
    """Stage after the command: equal to `from_stage` if blocked, None if the rollout is complete."""
    changed: bool
    """Whether the rollout moved."""
    is_complete: bool = False
    """Whether the release is `current` now."""
    candidate_is_worse: bool = False
    """Whether the candidate is proven worse than its control."""
    blocked_by: str = ""
    """Missing evidence, also if forced; empty if there is none."""
    hint: str | None = None
    """Next step of the user."""
    forced: bool = False
    """Whether the rollout moved although `blocked_by` is not empty."""
    newly_exposed: tuple[str, ...] = ()
    """Critical features that join the rollout at the new stage."""
    report_digest: str | None = None
    """Digest of the canary report that is the evidence."""
    steps: tuple[RollbackStep, ...] = ()
    """Updates of version targets."""
    registry_file: str
    warnings: tuple[str, ...] = ()


def promote(context: CommandContext, options: PromoteOptions) -> PromoteResult:
    """Move the rollout to the next stage.

    Raises:
        UsageError: force without a reason, another candidate than the named one, or it was rolled back meanwhile.
        InconclusiveError: no rollout is active.
        ProjectError: a file is invalid.
        InfrastructureError: a file cannot be written, or the shared state is unreachable.
    """
    if options.force and not options.reason:
        raise UsageError("--force needs --reason", hint="the ledger records the reason")
    with open_rollout_session(context, env=options.env) as session:
        if session.registry.rollout is None and (completed := _resume_completion(session, options)) is not None:
            return completed
        rollout = _active_rollout(session, options)
        if (finished := _finished_promotion(session, rollout)) is not None:
            return finished
        stage: StageNumber = rollout.stage
        after = next_stage(session.registry, stage)
        evidence = _check_integrity(session, rollout, _stage_evidence(session, rollout))
        result = PromoteResult(
            environment=session.source.environment,
            release=rollout.candidate,
            from_stage=stage,
            to_stage=stage,
            changed=False,
            candidate_is_worse=evidence.candidate_is_worse,
            blocked_by=evidence.blocked_by,
            hint=evidence.hint,
            report_digest=evidence.report_digest,
            registry_file=session.source.own_file,
            warnings=(*session.warnings, *find_inconsistencies(session.registry, session.ledger)),
        )
        if not evidence.is_enough and not options.force:
            return result
        entry = _entry(session, options, rollout, after, evidence)
        moved = msgspec.structs.replace(result, to_stage=after, changed=True, forced=entry.forced)
        if after is None:
            return _completed(session, rollout, entry, moved)
        new_rollout = Rollout(candidate=rollout.candidate, stage=after, started_at=rollout.started_at)
        warnings = session.apply_step(entry, rollout, lambda own: msgspec.structs.replace(own, rollout=new_rollout))
        exposed = newly_exposed(session.registry, stage, after)
        return msgspec.structs.replace(moved, newly_exposed=exposed, warnings=(*moved.warnings, *warnings))


def _resume_completion(session: RolloutSession, options: PromoteOptions) -> PromoteResult | None:
    """Complete the steps of a killed command, and send pending messages; return None if there is nothing to do."""
    registry, last = session.registry, session.ledger.last_step
    current, warnings = registry.current, session.warnings
    if current is None or options.release not in (None, current):
        return None
    if last is not None and last.release == current and last.action == "promote" and current in registry.history:
        rollout = Rollout(candidate=current, stage=FULL_ROLLOUT)
        evidence = StageEvidence(
            is_enough=True, evidence={"note": "recorded by a second run: the first was killed before"}
        )
        last = _entry(session, options, rollout, None, evidence)
        warnings = (*warnings, *session.record_missed_step(last))
        was_killed = True
    elif last is None or last.action != "complete" or last.release != current:
        return None
    else:
        was_killed = any(step.id == last.id for step in session.finished)
    steps = _notify(session, last)
    if not steps and not was_killed:
        return None
    return PromoteResult(
        environment=session.source.environment,
        release=current,
        from_stage=FULL_ROLLOUT,
        to_stage=None,
        changed=True,
        is_complete=True,
        steps=steps,
        registry_file=session.source.own_file,
        warnings=warnings,
    )


def _finished_promotion(session: RolloutSession, rollout: Rollout) -> PromoteResult | None:
    """Return the result of a killed command that had moved this rollout, so that a repetition moves it no further."""
    step = next((one for one in session.finished if (one.action, one.release) == ("promote", rollout.candidate)), None)
    if step is None or step.from_stage is None:
        return None
    return PromoteResult(
        environment=session.source.environment,
        release=rollout.candidate,
        from_stage=step.from_stage,
        to_stage=rollout.stage,
        changed=True,
        forced=step.forced,
        newly_exposed=newly_exposed(session.registry, _stage_number(step.from_stage), rollout.stage),
        report_digest=step.report_digest,
        registry_file=session.source.own_file,
        warnings=session.warnings,
    )


def _stage_number(stage: int | str) -> StageNumber:
    return stage if isinstance(stage, int) else "dogfood"


def _active_rollout(session: RolloutSession, options: PromoteOptions) -> Rollout:
    """Return the active rollout.

    Raises:
        InconclusiveError: there is none.
        UsageError: its candidate is another one, or was rolled back.
    """
    rollout = session.registry.rollout
    if rollout is None or rollout.candidate in session.registry.bad:
        raise InconclusiveError("no active rollout", hint="start one: `flowai release publish RELEASE`")
    if options.release not in (None, rollout.candidate):
        raise UsageError(f"the active rollout is that of `{rollout.candidate}`, not of `{options.release}`")
    overlay = session.overlay()
    if overlay is not None and rollout.candidate in overlay.bad:
        raise UsageError(
            f"`{rollout.candidate}` was rolled back; the registry is not updated yet",
            hint="complete it: run `flowai rollback` again",
        )
    return rollout


def _check_integrity(session: RolloutSession, rollout: Rollout, evidence: StageEvidence) -> StageEvidence:
    """Add a blocker if the candidate was never published, or changed after it was."""
    project, candidate = session.source.project, rollout.candidate
    lock = PromptLock.read(project.prompts_lock)
    hint = "releases never change: undo the change, or publish it under a new name"
    if candidate not in lock.releases:
        hint = f"remove `rollout` from `{session.source.own_file}`, then `flowai release publish {candidate}`"
    return with_blocker(evidence, integrity_problem(session.registry, lock, PromptLibrary(project), candidate), hint)


def _stage_evidence(session: RolloutSession, rollout: Rollout) -> StageEvidence:
    stage, now = rollout.stage, session.context.now()
    started_at = stage_started_at(session.ledger, rollout.candidate, stage, rollout.started_at)
    if stage == "dogfood":
        return _check_dogfood(session, rollout)
    if stage == FULL_ROLLOUT:
        return soak_evidence(session.registry, started_at=started_at, now=now)
    from flowai.analytics.event_query import CLOCK_SKEW_S  # as _usage

    step = session.ledger.latest(rollout.candidate, "publish", "promote")
    env = f" --env {session.source.environment}" if session.source.environment else ""
    return canary_evidence(
        _last_report(session, rollout),
        not_before=started_at or (step.at if step else rollout.started_at),
        not_after=now + timedelta(seconds=CLOCK_SKEW_S),
        report_command=f"flowai canary-report{env}",
    )


def _check_dogfood(session: RolloutSession, rollout: Rollout) -> StageEvidence:
    """Return the evidence of the dogfood stage: smoke, and the candidate's dogfood calls since the rollout started."""
    published = session.ledger.latest(rollout.candidate, "publish")
    smoke = None if published is None else str(published.evidence.get("smoke"))
    try:
        usage = _usage(session, rollout)
    except FlowaiError as error:  # an unreadable log is no evidence; --force still works
        return StageEvidence(is_enough=False, blocked_by=str(error), hint=error.hint, evidence={"smoke": smoke})
    group = {"release": rollout.candidate, "variant": "dogfood"}
    row = next((row for row in usage.rows if row.group == group), None)
    return dogfood_evidence(
        smoke=smoke,
        answered_count=0 if row is None else row.call_count - row.failed_count,
        failed_count=0 if row is None else row.failed_count,
        unusable={problem.kind: problem.count for problem in usage.problems},
    )


def _usage(session: RolloutSession, rollout: Rollout) -> UsageReport:
    """Measure all calls since the rollout started, by release and variant."""
    from flowai.analytics.event_query import CLOCK_SKEW_S, TimeRange, days_around, open_log
    from flowai.analytics.usage import COLUMNS, measure_usage

    since_us = 0 if rollout.started_at is None else to_us(rollout.started_at)
    now_us = to_us(session.context.now())
    time_range = TimeRange(since_us=since_us, until_us=max(now_us, since_us) + 1)
    sources = open_event_source(
        session.registry, session.source.project, session.source.environ, days_around(time_range)
    )
    with sources as directories, open_log(directories, COLUMNS, time_range) as log:
        return measure_usage(log, time_range, ("release", "variant"), now_us=now_us + CLOCK_SKEW_S * 1_000_000)


def _last_report(session: RolloutSession, rollout: Rollout) -> CanaryReportSummary | None:
    """Read the last canary report of the stage; None if there is none, or it is of another stage or environment."""
    from flowai.canary.report_records import CanaryReport, with_digest  # only these stages have one

    path = session.source.project.reports / "canary" / f"{rollout.candidate}-{rollout.stage}" / "report.json"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InfrastructureError(f"`{session.source.project.show(path)}` cannot be read: {error.strerror}") from error
    try:
        report = msgspec.json.decode(raw, type=CanaryReport)
        until = parse_rfc3339(report.until)
    except (msgspec.DecodeError, ValueError, UnicodeDecodeError, RecursionError):
        return CanaryReportSummary(
            verdict="invalid", reasons=(), until=datetime.max.replace(tzinfo=UTC), digest="", is_intact=False
        )
    expected = (rollout.candidate, str(rollout.stage), session.source.environment)
    if (report.candidate, report.stage, report.environment) != expected:
        return None
    return CanaryReportSummary(
        verdict=report.verdict,
        reasons=report.reasons,
        until=until,
        digest=report.digest,
        is_intact=with_digest(report).digest == report.digest,
    )


def _entry(
    session: RolloutSession,
    options: PromoteOptions,
    rollout: Rollout,
    after: StageNumber | None,
    evidence: StageEvidence,
) -> LedgerEntry:
    at = session.context.now()
    return LedgerEntry(
        id=entry_id("promote", at, rollout.candidate),
        at=at,
        actor=session.context.user,
        action="complete" if after is None else "promote",
        release=rollout.candidate,
        serving=rollout.candidate if after is None else None,
        from_stage=rollout.stage,
        to_stage=after,
        forced=options.force and not evidence.is_enough,
        reason=session.redact(options.reason),
        evidence={**evidence.evidence, **({"overridden": evidence.blocked_by} if evidence.blocked_by else {})},
        report_digest=evidence.report_digest,
    )


def _completed(session: RolloutSession, rollout: Rollout, entry: LedgerEntry, moved: PromoteResult) -> PromoteResult:
    """Set the candidate as current and known good.

    The overlay of an earlier rollback is cleared first: it would override the new `current`.
    """
    session.clear_overlay(entry.at)

    def complete(own: ManagedKeys) -> ManagedKeys:
        history = (*(name for name in own.history if name != rollout.candidate), rollout.candidate)
        return msgspec.structs.replace(own, current=rollout.candidate, history=history, rollout=None)

    warnings = (*moved.warnings, *session.apply_step(entry, rollout, complete))
    return msgspec.structs.replace(moved, is_complete=True, steps=_notify(session, entry), warnings=warnings)


def _notify(session: RolloutSession, entry: LedgerEntry) -> tuple[RollbackStep, ...]:
    """Update the version targets; skip those that this entry has already updated."""
    notifier = RolloutNotifier(session.context, session.source)
    try:
        notifier.queue_version(entry.release, id=entry.id)
    except FlowaiError as error:
        return (RollbackStep(name="outbox", status="pending", detail=str(error)),)
    return notifier.deliver()
