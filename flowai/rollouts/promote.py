"""`flowai release promote`: moves a rollout on by one stage; after the last stage the release becomes current."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, InconclusiveError, InfrastructureError, UsageError
from flowai.prompts import PromptLibrary, PromptLock
from flowai.registry import Rollout
from flowai.releases.integrity import integrity_problem
from flowai.releases.ledger import LedgerEntry, entry_id, find_inconsistencies
from flowai.releases.stages import (
    FULL_ROLLOUT,
    CanaryReportSummary,
    StageEvidence,
    StageNumber,
    began_at,
    canary_proof,
    dogfood_proof,
    newly_exposed,
    next_stage,
    soak_proof,
    with_warning,
)
from flowai.rollouts.notify import RolloutNotifier
from flowai.rollouts.records import RollbackStep
from flowai.rollouts.session import open_ground
from flowai.timestamps import parse_rfc3339, to_us
from flowai.workspace.event_source import open_event_source

if TYPE_CHECKING:
    from flowai.analytics.usage import UsageReport
    from flowai.registry.writer import ManagedKeys
    from flowai.rollouts.session import RolloutSession
    from flowai.workspace.workspace import CommandContext


@dataclass(frozen=True, kw_only=True, slots=True)
class PromoteOptions:
    """What was asked for."""

    release: str | None = None
    """The candidate that is meant; None for whichever is being rolled out."""
    env: str | None = None
    """The environment; None for FLOWAI_ENV or the only one."""
    force: bool = False
    """Whether to go on without evidence; needs a reason."""
    reason: str | None = None
    """Why."""


class PromoteResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    schema_version: int = 1
    """Version of this format: 1."""
    environment: str | None
    """The environment; None for the plain registry."""
    release: str
    """The candidate."""
    from_stage: int | str
    """The stage it was at."""
    to_stage: int | str | None
    """The stage it is at now; None where the rollout is complete. The same where it did not move."""
    changed: bool
    """Whether it moved."""
    is_complete: bool = False
    """Whether the release is current now."""
    candidate_is_worse: bool = False
    """Whether the candidate was found worse than its control."""
    blocked_by: str = ""
    """Why it did not move, or would not have without force; empty where nothing speaks against it."""
    hint: str | None = None
    """What to do about that."""
    forced: bool = False
    """Whether it moved in spite of it."""
    newly_exposed: tuple[str, ...] = ()
    """Critical features that take part from here on."""
    report_digest: str | None = None
    """Digest of the canary report it rests on."""
    steps: tuple[RollbackStep, ...] = ()
    """Version targets that were told."""
    registry_file: str
    """The file that was changed."""
    warnings: tuple[str, ...] = ()
    """What a person should know; one line each."""


def promote(context: CommandContext, options: PromoteOptions) -> PromoteResult:
    """Move the rollout on by one stage.

    Raises:
        UsageError: force without a reason, another candidate than the one named, or it was rolled back meanwhile.
        UndecidedError: no rollout is on.
        ProjectError: a file is wrong.
        InfrastructureError: a file cannot be written, or what processes share is away.
    """
    if options.force and not options.reason:
        raise UsageError("--force needs --reason", hint="the ledger keeps why a rule was overridden")
    with open_ground(context, env=options.env) as ground:
        if ground.registry.rollout is None and (finished := _finish(ground, options)) is not None:
            return finished
        rollout = _rollout(ground, options)
        stage: StageNumber = rollout.stage
        after = next_stage(ground.registry, stage)
        proof = _reject_if_changed(ground, rollout, _proof(ground, rollout))
        result = PromoteResult(
            environment=ground.source.environment,
            release=rollout.candidate,
            from_stage=stage,
            to_stage=stage,
            changed=False,
            candidate_is_worse=proof.candidate_is_worse,
            blocked_by=proof.blocked_by,
            hint=proof.hint,
            report_digest=proof.report_digest,
            registry_file=ground.source.own_file,
            warnings=(*ground.ledger.warnings, *find_inconsistencies(ground.registry, ground.ledger)),
        )
        if not proof.is_enough and not options.force:
            return result
        entry = _entry(ground, options, rollout, after, proof)
        moved = msgspec.structs.replace(result, to_stage=after, has_moved=True, forced=entry.forced)
        if after is None:
            return _completed(ground, rollout, entry, moved)
        begun = Rollout(candidate=rollout.candidate, stage=after, started_at=rollout.started_at)
        warnings = ground.apply_step(entry, rollout, lambda own: msgspec.structs.replace(own, rollout=begun))
        joins = newly_exposed(ground.registry, stage, after)
        return msgspec.structs.replace(moved, joins=joins, warnings=(*moved.warnings, *warnings))


def _finish(ground: RolloutSession, options: PromoteOptions) -> PromoteResult | None:
    """Finish a completed rollout whose command was killed, or whose messages wait; None where nothing is left to do."""
    registry, last = ground.registry, ground.ledger.last
    current, warnings = registry.current, ground.ledger.warnings
    if current is None or options.release not in (None, current):
        return None
    if last is not None and last.release == current and last.action == "promote" and current in registry.history:
        rollout = Rollout(candidate=current, stage=FULL_ROLLOUT)
        proof = StageEvidence(is_enough=True, evidence={"note": "written again: the first command did not reach it"})
        last = _entry(ground, options, rollout, None, proof)
        warnings = (*warnings, *ground.record_missed_step(last))
    elif last is None or last.action != "complete" or last.release != current:
        return None
    steps = _notify(ground, last)
    if not steps:
        return None
    return PromoteResult(
        environment=ground.source.environment,
        release=current,
        from_stage=FULL_ROLLOUT,
        to_stage=None,
        changed=True,
        is_complete=True,
        steps=steps,
        registry_file=ground.source.own_file,
        warnings=warnings,
    )


def _rollout(ground: RolloutSession, options: PromoteOptions) -> Rollout:
    """Give the rollout that is on, and nobody has ended."""
    rollout = ground.registry.rollout
    if rollout is None or rollout.candidate in ground.registry.bad:
        raise InconclusiveError("no rollout is on", hint="begin one: `flowai release publish RELEASE`")
    if options.release not in (None, rollout.candidate):
        raise UsageError(f"the rollout that is on is the one of `{rollout.candidate}`, not of `{options.release}`")
    overlay = ground.overlay()
    if overlay is not None and rollout.candidate in overlay.bad:
        raise UsageError(
            f"`{rollout.candidate}` was rolled back; the registry does not say so yet",
            hint="finish it: run `flowai rollback` again",
        )
    return rollout


def _reject_if_changed(ground: RolloutSession, rollout: Rollout, proof: StageEvidence) -> StageEvidence:
    """Take a proof back where the candidate may not be what was proven: published, and the same since."""
    project, candidate = ground.source.project, rollout.candidate
    lock = PromptLock.read(project.prompts_lock)
    hint = "releases never change: undo it, or give it a new name and publish that"
    if candidate not in lock.releases:
        hint = f"take `rollout` out of `{ground.source.own_file}`, then `flowai release publish {candidate}`"
    return with_warning(proof, integrity_problem(ground.registry, lock, PromptLibrary(project), candidate), hint)


def _proof(ground: RolloutSession, rollout: Rollout) -> StageEvidence:
    stage, now = rollout.stage, ground.context.now()
    stage_began_at = began_at(ground.ledger, rollout.candidate, stage, rollout.started_at)
    if stage == "dogfood":
        return _check_dogfood(ground, rollout)
    if stage == FULL_ROLLOUT:
        return soak_proof(ground.registry, stage_began_at=stage_began_at, now=now)
    from flowai.analytics.event_query import CLOCK_SKEW_S  # as _usage

    step = ground.ledger.newest(rollout.candidate, "publish", "promote")
    env = f" --env {ground.source.environment}" if ground.source.environment else ""
    return canary_proof(
        _last_report(ground, rollout),
        not_before=stage_began_at or (step.at if step else rollout.started_at),
        not_after=now + timedelta(seconds=CLOCK_SKEW_S),
        again=f"flowai canary-report{env}",
    )


def _check_dogfood(ground: RolloutSession, rollout: Rollout) -> StageEvidence:
    """Judge the first stage by smoke, and the candidate's dogfood calls since its rollout began."""
    published = ground.ledger.newest(rollout.candidate, "publish")
    smoke = None if published is None else str(published.evidence.get("smoke"))
    try:
        usage = _usage(ground, rollout)
    except FlowaiError as error:  # a log that cannot be read proves nothing, and hinders nobody who goes on by force
        return StageEvidence(is_enough=False, blocked_by=str(error), hint=error.hint, evidence={"smoke": smoke})
    ours = {"release": rollout.candidate, "variant": "dogfood"}
    row = next((row for row in usage.rows if row.group == ours), None)
    return dogfood_proof(
        smoke=smoke,
        answered_count=0 if row is None else row.call_count - row.failed_count,
        failed_count=0 if row is None else row.failed_count,
        unusable={problem.kind: problem.count for problem in usage.problems},
    )


def _usage(ground: RolloutSession, rollout: Rollout) -> UsageReport:
    """Measure all calls since the rollout began, by release and variant."""
    from flowai.analytics.event_query import CLOCK_SKEW_S, TimeRange, days_around, open_log
    from flowai.analytics.usage import COLUMNS, measure_usage

    since_us = 0 if rollout.started_at is None else to_us(rollout.started_at)
    now_us = to_us(ground.context.now())
    stretch = TimeRange(since_us=since_us, until_us=max(now_us, since_us) + 1)
    places = open_event_source(ground.registry, ground.source.project, ground.source.environ, days_around(stretch))
    with places as directories, open_log(directories, COLUMNS, stretch) as log:
        return measure_usage(log, stretch, ("release", "variant"), now_us=now_us + CLOCK_SKEW_S * 1_000_000)


def _last_report(ground: RolloutSession, rollout: Rollout) -> CanaryReportSummary | None:
    """Read the last canary report of the stage; one of another stage or environment is none."""
    from flowai.canary.report_records import CanaryReport, with_digest  # only these stages have one

    path = ground.source.project.reports / "canary" / f"{rollout.candidate}-{rollout.stage}" / "report.json"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InfrastructureError(f"`{ground.source.project.show(path)}` cannot be read: {error.strerror}") from error
    try:
        report = msgspec.json.decode(raw, type=CanaryReport)
        until = parse_rfc3339(report.until)
    except (msgspec.DecodeError, ValueError, UnicodeDecodeError):
        return CanaryReportSummary(
            verdict="invalid", reasons=(), until=datetime.max.replace(tzinfo=UTC), digest="", is_whole=False
        )
    ours = (rollout.candidate, str(rollout.stage), ground.source.environment)
    if (report.candidate, report.stage, report.environment) != ours:
        return None
    return CanaryReportSummary(
        verdict=report.verdict,
        reasons=report.reasons,
        until=until,
        digest=report.digest,
        is_whole=with_digest(report).digest == report.digest,
    )


def _entry(
    ground: RolloutSession, options: PromoteOptions, rollout: Rollout, after: StageNumber | None, proof: StageEvidence
) -> LedgerEntry:
    at = ground.context.now()
    return LedgerEntry(
        id=entry_id("promote", at, rollout.candidate),
        at=at,
        actor=ground.context.user,
        action="complete" if after is None else "promote",
        release=rollout.candidate,
        serving=rollout.candidate if after is None else None,
        from_stage=rollout.stage,
        to_stage=after,
        forced=options.force and not proof.is_enough,
        reason=ground.clean(options.reason),
        evidence={**proof.evidence, **({"overridden": proof.blocked_by} if proof.blocked_by else {})},
        report_digest=proof.report_digest,
    )


def _completed(ground: RolloutSession, rollout: Rollout, entry: LedgerEntry, moved: PromoteResult) -> PromoteResult:
    """Make the candidate current and known good.

    A rollback's overlay goes first: it would keep its own release in front of the new `current`.
    """
    ground.take_back_overlay(entry.at)

    def complete(own: ManagedKeys) -> ManagedKeys:
        history = (*(name for name in own.history if name != rollout.candidate), rollout.candidate)
        return msgspec.structs.replace(own, current=rollout.candidate, history=history, rollout=None)

    warnings = (*moved.warnings, *ground.apply_step(entry, rollout, complete))
    return msgspec.structs.replace(moved, is_complete=True, steps=_notify(ground, entry), warnings=warnings)


def _notify(ground: RolloutSession, entry: LedgerEntry) -> tuple[RollbackStep, ...]:
    """Tell the version targets; those that were told by this entry before are not told again."""
    after = RolloutNotifier(ground.context, ground.source)
    try:
        after.queue_version(entry.release, id=entry.id)
    except FlowaiError as error:
        return (RollbackStep(name="outbox", status="pending", detail=str(error)),)
    return after.deliver()
