"""What `flowai release promote` does: moves a rollout on by one stage, on evidence; after the last, its release serves.

In: where it stands and what was asked for. Out: a Promoted. Must never know the screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, InfrastructureError, UndecidedError, UsageError
from flowai.operations.release_ground import open_ground
from flowai.operations.rollback_aftermath import Aftermath
from flowai.operations.rollback_model import Step
from flowai.registry import Rollout
from flowai.releases.ledger import Entry
from flowai.releases.stages import (
    WHOLE,
    Proof,
    Said,
    Stage,
    began_at,
    canary_proof,
    dogfood_proof,
    joining,
    next_stage,
    soak_proof,
)

if TYPE_CHECKING:
    from flowai.operations.release_ground import Ground
    from flowai.operations.rollback_model import Here
    from flowai.registry.edit import OwnKeys


@dataclass(frozen=True, kw_only=True, slots=True)
class PromoteOptions:
    """What was asked for.

    Args:
        release: the candidate that is meant; None for whichever is being rolled out.
        env: the environment; None for FLOWAI_ENV or the only one.
        force: whether to go on without evidence; needs a reason.
        reason: why.
    """

    release: str | None = None
    env: str | None = None
    force: bool = False
    reason: str | None = None


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Args:
        schema_version: version of this format: 1.
        environment: the environment; None for the plain registry.
        release: the candidate.
        from_stage: the stage it was at.
        to_stage: the stage it is at now; None where the rollout is complete. The same where it did not move.
        has_moved: whether it moved.
        is_complete: whether the release is current now.
        is_worse: whether the candidate was found worse than its control.
        why_not: why it did not move, or would not have without force; empty where nothing speaks against it.
        hint: what to do about that.
        forced: whether it moved in spite of it.
        joins: critical features that take part from here on.
        report_digest: digest of the canary report it rests on.
        steps: version targets that were told.
        registry_file: the file that was changed.
        warnings: what a person should know; one line each.
    """

    schema_version: int = 1
    environment: str | None
    release: str
    from_stage: int | str
    to_stage: int | str | None
    has_moved: bool
    is_complete: bool = False
    is_worse: bool = False
    why_not: str = ""
    hint: str | None = None
    forced: bool = False
    joins: tuple[str, ...] = ()
    report_digest: str | None = None
    steps: tuple[Step, ...] = ()
    registry_file: str
    warnings: tuple[str, ...] = ()


def promote(here: Here, options: PromoteOptions) -> Promoted:
    """Move the rollout on by one stage.

    Raises:
        UsageError: force without a reason, another candidate than the one named, or it was rolled back meanwhile.
        UndecidedError: no rollout is on.
        ProjectError: a file is wrong.
        InfrastructureError: a file cannot be written, or what processes share is away.
    """
    if options.force and not options.reason:
        raise UsageError("--force needs --reason", hint="the ledger keeps why a rule was overridden")
    with open_ground(here, env=options.env) as ground:
        if ground.registry.rollout is None and (finished := _finish(ground, options)) is not None:
            return finished
        rollout = _rollout(ground, options)
        stage: Stage = rollout.stage
        after = next_stage(ground.registry, stage)
        proof = _proof(ground, rollout)
        result = Promoted(
            environment=ground.source.environment,
            release=rollout.candidate,
            from_stage=stage,
            to_stage=stage,
            has_moved=False,
            is_worse=proof.is_worse,
            why_not=proof.why_not,
            hint=proof.hint,
            report_digest=proof.report_digest,
            registry_file=ground.source.own_file,
            warnings=ground.ledger.warnings,
        )
        if not proof.is_enough and not options.force:
            return result
        entry = _entry(ground, options, rollout, after, proof)
        moved = msgspec.structs.replace(result, to_stage=after, has_moved=True, forced=entry.forced)
        if after is None:
            return msgspec.structs.replace(moved, is_complete=True, steps=_complete(ground, rollout, entry))
        begun = Rollout(candidate=rollout.candidate, stage=after, started_at=rollout.started_at)
        ground.move(rollout, lambda own: msgspec.structs.replace(own, rollout=begun))
        ground.note(entry)
        return msgspec.structs.replace(moved, joins=joining(ground.registry, stage, after))


def _finish(ground: Ground, options: PromoteOptions) -> Promoted | None:
    """Finish a completed rollout whose command was killed, or whose messages wait; None where nothing is left to do."""
    registry, last = ground.registry, ground.ledger.last
    current = registry.current
    if current is None or options.release not in (None, current):
        return None
    if last is not None and last.release == current and last.action == "promote" and current in registry.history:
        rollout = Rollout(candidate=current, stage=WHOLE)
        proof = Proof(is_enough=True, evidence={"note": "written again: the first command did not reach it"})
        last = _entry(ground, options, rollout, None, proof)
        ground.note(last)
    elif last is None or last.action != "complete" or last.release != current:
        return None
    steps = _tell(ground, last)
    if not steps:
        return None
    return Promoted(
        environment=ground.source.environment,
        release=current,
        from_stage=WHOLE,
        to_stage=None,
        has_moved=True,
        is_complete=True,
        steps=steps,
        registry_file=ground.source.own_file,
        warnings=ground.ledger.warnings,
    )


def _rollout(ground: Ground, options: PromoteOptions) -> Rollout:
    """Give the rollout that is on, and nobody has ended."""
    rollout = ground.registry.rollout
    if rollout is None or rollout.candidate in ground.registry.bad:
        raise UndecidedError("no rollout is on", hint="begin one: `flowai release publish RELEASE`")
    if options.release not in (None, rollout.candidate):
        raise UsageError(f"the rollout that is on is the one of `{rollout.candidate}`, not of `{options.release}`")
    overlay = ground.overlay()
    if overlay is not None and rollout.candidate in overlay.bad:
        raise UsageError(
            f"`{rollout.candidate}` was rolled back; the registry does not say so yet",
            hint="finish it: run `flowai rollback` again",
        )
    return rollout


def _proof(ground: Ground, rollout: Rollout) -> Proof:
    stage, candidate = rollout.stage, rollout.candidate
    stage_began_at = began_at(ground.ledger, candidate, stage, rollout.started_at)
    if stage == "dogfood":
        published = ground.ledger.newest(candidate, "publish")
        answered_count, failed_count = _dogfood_counts(ground, rollout)
        return dogfood_proof(
            smoke=None if published is None else str(published.evidence.get("smoke")),
            answered_count=answered_count,
            failed_count=failed_count,
        )
    if stage == WHOLE:
        return soak_proof(ground.registry, stage_began_at=stage_began_at, now=ground.here.now())
    env = f" --env {ground.source.environment}" if ground.source.environment else ""
    return canary_proof(
        _last_report(ground, rollout), stage_began_at=stage_began_at, again=f"flowai canary-report{env}"
    )


def _dogfood_counts(ground: Ground, rollout: Rollout) -> tuple[int, int]:
    """Count the candidate's dogfood calls since its rollout began: answered, and failed."""
    from flowai.events import CallEvent, read_events  # only this stage looks at the log

    named = ground.registry.events
    if "://" in named:
        raise InfrastructureError(f"the events lie at `{named}`; this version counts dogfood calls in directories only")
    counts = [0, 0]
    for event in read_events(ground.source.project.inside(named), on_unreadable=lambda _: None):
        if not isinstance(event, CallEvent) or (event.release, event.variant) != (rollout.candidate, "dogfood"):
            continue
        if rollout.started_at is None or event.at >= rollout.started_at:
            counts[event.error_class is not None] += 1
    return counts[0], counts[1]


def _last_report(ground: Ground, rollout: Rollout) -> Said | None:
    """Read the last canary report of the stage; one of another environment is none."""
    from flowai.metrics.model import CanaryReport, sealed  # only these stages have one

    path = ground.source.project.reports / "canary" / f"{rollout.candidate}-{rollout.stage}" / "report.json"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InfrastructureError(f"`{ground.source.project.show(path)}` cannot be read: {error.strerror}") from error
    try:
        report = msgspec.json.decode(raw, type=CanaryReport)
        until = datetime.fromisoformat(report.until)
    except (msgspec.DecodeError, ValueError, UnicodeDecodeError):
        return Said(verdict="invalid", reasons=(), until=datetime.max.replace(tzinfo=UTC), digest="", is_whole=False)
    if (report.candidate, report.environment) != (rollout.candidate, ground.source.environment):
        return None
    return Said(
        verdict=report.verdict,
        reasons=report.reasons,
        until=until,
        digest=report.digest,
        is_whole=sealed(report).digest == report.digest,
    )


def _entry(ground: Ground, options: PromoteOptions, rollout: Rollout, after: Stage | None, proof: Proof) -> Entry:
    at = ground.here.now()
    return Entry(
        id=f"promote-{at:%Y%m%dT%H%M%S.%fZ}-{rollout.candidate}",
        at=at,
        who=ground.here.who,
        action="complete" if after is None else "promote",
        release=rollout.candidate,
        serves=rollout.candidate if after is None else None,
        from_stage=rollout.stage,
        to_stage=after,
        forced=options.force and not proof.is_enough,
        reason=ground.clean(options.reason),
        evidence={**proof.evidence, **({"overridden": proof.why_not} if proof.why_not else {})},
        report_digest=proof.report_digest,
    )


def _complete(ground: Ground, rollout: Rollout, entry: Entry) -> tuple[Step, ...]:
    """Make the candidate current and known good.

    A rollback's overlay goes first: it would keep its own release in front of the new `current`.
    """
    ground.take_back_overlay(entry.at, ground.registry.bad)

    def complete(own: OwnKeys) -> OwnKeys:
        history = (*(name for name in own.history if name != rollout.candidate), rollout.candidate)
        return msgspec.structs.replace(own, current=rollout.candidate, history=history, rollout=None)

    ground.move(rollout, complete)
    ground.note(entry)
    return _tell(ground, entry)


def _tell(ground: Ground, entry: Entry) -> tuple[Step, ...]:
    """Tell the version targets; those that were told by this entry before are not told again."""
    after = Aftermath(ground.here, ground.source)
    try:
        after.queue_version(entry.release, id=entry.id)
    except FlowaiError as error:
        return (Step(name="outbox", status="pending", detail=str(error)),)
    return after.deliver()
