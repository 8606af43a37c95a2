"""The stages of a rollout: which comes next, who joins there, and whether its evidence is enough."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from flowai.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from flowai.registry import Registry
    from flowai.releases.ledger import Ledger

StageNumber = int | Literal["dogfood"]
FULL_ROLLOUT = 100
DOGFOOD_MIN_CALLS = 20
"""Answered calls that show the candidate works at all; how well it works is for the canary to say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageEvidence:
    """Whether a stage may be left."""

    is_enough: bool
    """Whether it may."""
    blocked_by: str = ""
    """What is missing; empty where nothing is."""
    hint: str | None = None
    """What to do about it; None where nothing is missing."""
    candidate_is_worse: bool = False
    """Whether the candidate was found to be worse, rather than not yet known to be good."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """What it rests on, for the ledger."""
    report_digest: str | None = None
    """Digest of the canary report; None where none was looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryReportSummary:
    """What the last canary report of a stage said."""

    verdict: str
    """Its verdict."""
    reasons: tuple[str, ...]
    """Why."""
    until: datetime
    """End of the stretch it looked at, UTC."""
    digest: str
    """Its digest."""
    is_whole: bool
    """Whether the digest fits what stands in it."""


def next_stage(registry: Registry, stage: StageNumber) -> StageNumber | None:
    """Give the stage after one; None after the last, which is 100 %.

    Raises:
        RegistryError: the stage is none of the policy's.
    """
    stages = registry.policies.canary.stages
    if stage in stages:
        return next(iter(stages[stages.index(stage) + 1 :]), None)
    higher = [one for one in stages if isinstance(one, int) and isinstance(stage, int) and one > stage]
    if not higher:
        listed = ", ".join(map(str, stages))
        raise RegistryError(
            f"the rollout stands at `{stage}`, which is none of its stages: {listed}",
            hint=f"change `rollout.stage` in `{registry.own_file}` to one of them",
        )
    return higher[0]  # the policy changed meanwhile: on to the next share it has


def newly_exposed(registry: Registry, before: StageNumber, after: StageNumber) -> tuple[str, ...]:
    """Give the critical features that take part from one stage on."""
    start = registry.policies.canary.critical_from
    old = before if isinstance(before, int) else 0
    new = after if isinstance(after, int) else 0
    return tuple(name for name, one in registry.features.items() if one.critical and old < start <= new)


def began_at(ledger: Ledger, candidate: str, stage: StageNumber, started_at: datetime | None) -> datetime | None:
    """Say when a rollout reached the stage it is at; None when nobody knows."""
    entry = ledger.newest(candidate, "publish", "promote")
    if entry is not None and entry.to_stage == stage:
        return entry.at
    return started_at if entry is None else None


def with_warning(proof: StageEvidence, why: str, hint: str) -> StageEvidence:
    """Give a proof that is not enough for one more reason; the same one where there is none."""
    if not why:
        return proof
    whole = "; ".join(part for part in (proof.blocked_by, why) if part)
    return replace(proof, is_enough=False, blocked_by=whole, hint=proof.hint or hint)


def dogfood_proof(
    *, smoke: str | None, answered_count: int, failed_count: int, unusable: Mapping[str, int]
) -> StageEvidence:
    """Judge the first stage: smoke passed, and our own people were answered often enough.

    Args:
        smoke: what smoke said when the release was published; None where nobody knows.
        answered_count: dogfood calls that were answered, >= 0.
        failed_count: dogfood calls that were not, >= 0.
        unusable: lines of the log that count for nothing, by what is wrong with them.
    """
    evidence: dict[str, Any] = {"smoke": smoke, "answered_count": answered_count, "failed_count": failed_count}
    if unusable:
        evidence["unusable"] = dict(unusable)
    if smoke != "pass":
        hint = "see what `flowai smoke` says, then why it may go on: --force --reason"
        return StageEvidence(
            is_enough=False, blocked_by=f"smoke is `{smoke or 'unknown'}`", hint=hint, evidence=evidence
        )
    if answered_count < DOGFOOD_MIN_CALLS:
        lost = ", ".join(f"{count:,} lines {kind.replace('_', ' ')}" for kind, count in unusable.items())
        why = f"{answered_count} answered dogfood calls, {DOGFOOD_MIN_CALLS} are needed ({failed_count} failed)"
        why += f"; of the event log count for nothing: {lost}" if lost else ""
        return StageEvidence(
            is_enough=False,
            blocked_by=why,
            hint="call with the flag's header, see `flag` in the registry",
            evidence=evidence,
        )
    return StageEvidence(is_enough=True, evidence=evidence)


def canary_proof(
    said: CanaryReportSummary | None, *, not_before: datetime | None, not_after: datetime, again: str
) -> StageEvidence:
    """Judge a percentage by the last canary report of it.

    Args:
        said: the report; None when there is none.
        not_before: when the stage began, or the newest step before it; None when nobody knows.
        not_after: the time, and how far another machine's clock may be ahead.
        again: command that makes a new report.
    """
    if said is None:
        return StageEvidence(is_enough=False, blocked_by="there is no canary report of this stage", hint=again)
    proof = StageEvidence(is_enough=True, evidence={"verdict": said.verdict, "until": said.until.isoformat()})
    why, hint, is_worse = "", again, False
    if not said.is_whole:
        why = "the canary report was changed after it was written"
    elif not_before is not None and said.until < not_before:
        why = "the canary report is older than the stage"
    elif said.until > not_after:
        why = f"the canary report looks into the future: until {said.until:%Y-%m-%d %H:%M} UTC"
    elif said.verdict == "rollback":
        why, hint, is_worse = f"the verdict is `rollback`: {'; '.join(said.reasons)}", "flowai rollback", True
    elif said.verdict != "promote":
        why = f"the verdict is `{said.verdict}`: {'; '.join(said.reasons)}"
    return StageEvidence(
        is_enough=not why,
        blocked_by=why,
        hint=hint if why else None,
        candidate_is_worse=is_worse,
        evidence=proof.evidence,
        report_digest=said.digest,
    )


def soak_proof(registry: Registry, *, stage_began_at: datetime | None, now: datetime) -> StageEvidence:
    """Judge 100 %: whether it was watched for long enough."""
    soak_s = registry.policies.canary.soak_s
    if stage_began_at is None:
        return StageEvidence(
            is_enough=False, blocked_by="the ledger does not say when 100 % began", hint="--force --reason"
        )
    passed_s = (now - stage_began_at).total_seconds()
    evidence = {"soaked_s": round(passed_s), "soak_s": soak_s}
    if passed_s < soak_s:
        until = stage_began_at + timedelta(seconds=soak_s)
        why = f"it soaks until {until:%Y-%m-%d %H:%M} UTC"
        return StageEvidence(
            is_enough=False, blocked_by=why, hint="`flowai watch` looks at it meanwhile", evidence=evidence
        )
    return StageEvidence(is_enough=True, evidence=evidence)
