"""Stages of a rollout: the next stage, newly exposed features, and the evidence that a stage requires."""

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
"""Enough to show that the candidate works at all; the canary measures how well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageEvidence:
    """Evidence for promoting a rollout from its current stage."""

    is_enough: bool
    blocked_by: str = ""
    """Reasons against the promotion; empty if there are none."""
    hint: str | None = None
    """Next step of the user; None if nothing is missing."""
    candidate_is_worse: bool = False
    """True if the candidate is proven worse; False also if the evidence is not enough."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """Figures for the ledger."""
    report_digest: str | None = None
    """Digest of the canary report; None if none was read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryReportSummary:
    """Summary of the last canary report of a stage."""

    verdict: str
    reasons: tuple[str, ...]
    until: datetime
    """End of its time range, UTC."""
    digest: str
    is_intact: bool
    """Whether the digest matches the content."""


def next_stage(registry: Registry, stage: StageNumber) -> StageNumber | None:
    """Return the next stage; None after the last, which is 100 %.

    Raises:
        RegistryError: the stage is not in the policy, and no later one is.
    """
    stages = registry.policies.canary.stages
    if stage in stages:
        return next(iter(stages[stages.index(stage) + 1 :]), None)
    higher = [one for one in stages if isinstance(one, int) and isinstance(stage, int) and one > stage]
    if not higher:
        listed = ", ".join(map(str, stages))
        raise RegistryError(
            f"the rollout is at stage `{stage}`, expected one of {listed}",
            hint=f"change `rollout.stage` in `{registry.own_file}` to one of them",
        )
    return higher[0]  # the policy changed meanwhile: continue with its next percentage


def newly_exposed(registry: Registry, before: StageNumber, after: StageNumber) -> tuple[str, ...]:
    """Return the critical features that join the rollout at stage `after`."""
    start = registry.policies.canary.critical_from
    old = before if isinstance(before, int) else 0
    new = after if isinstance(after, int) else 0
    return tuple(name for name, one in registry.features.items() if one.critical and old < start <= new)


def stage_started_at(
    ledger: Ledger, candidate: str, stage: StageNumber, started_at: datetime | None
) -> datetime | None:
    """Return when a rollout reached its current stage; None if unknown."""
    entry = ledger.latest(candidate, "publish", "promote")
    if entry is not None and entry.to_stage == stage:
        return entry.at
    return started_at if entry is None else None


def with_blocker(evidence: StageEvidence, why: str, hint: str) -> StageEvidence:
    """Return the evidence with one more blocker; unchanged if `why` is empty."""
    if not why:
        return evidence
    blockers = "; ".join(part for part in (evidence.blocked_by, why) if part)
    return replace(evidence, is_enough=False, blocked_by=blockers, hint=evidence.hint or hint)


def dogfood_evidence(
    *, smoke: str | None, answered_count: int, failed_count: int, unusable: Mapping[str, int]
) -> StageEvidence:
    """Return the evidence of the dogfood stage: smoke passed, and enough calls were answered.

    Args:
        smoke: decision of smoke when the release was published; None if unknown.
        answered_count: answered dogfood calls.
        failed_count: failed dogfood calls.
        unusable: skipped lines of the event log, by problem.
    """
    evidence: dict[str, Any] = {"smoke": smoke, "answered_count": answered_count, "failed_count": failed_count}
    if unusable:
        evidence["unusable"] = dict(unusable)
    if smoke != "pass":
        hint = "run `flowai smoke`; to promote without it: --force --reason"
        return StageEvidence(
            is_enough=False,
            blocked_by=f"smoke: found `{smoke or 'unknown'}`, expected `pass`",
            hint=hint,
            evidence=evidence,
        )
    if answered_count < DOGFOOD_MIN_CALLS:
        lost = ", ".join(f"{count:,} lines {kind.replace('_', ' ')}" for kind, count in unusable.items())
        why = f"{answered_count} answered dogfood calls, expected at least {DOGFOOD_MIN_CALLS} ({failed_count} failed)"
        why += f"; skipped in the event log: {lost}" if lost else ""
        return StageEvidence(
            is_enough=False,
            blocked_by=why,
            hint="send calls with the header of `flag` in the registry",
            evidence=evidence,
        )
    return StageEvidence(is_enough=True, evidence=evidence)


def canary_evidence(
    report: CanaryReportSummary | None, *, not_before: datetime | None, not_after: datetime, report_command: str
) -> StageEvidence:
    """Return the evidence of a percentage: its last canary report.

    Args:
        report: the report; None if there is none.
        not_before: start of the stage, or the newest step before it; None if unknown.
        not_after: the time plus the tolerated clock skew.
        report_command: command that writes a new report.
    """
    if report is None:
        return StageEvidence(is_enough=False, blocked_by="there is no canary report of this stage", hint=report_command)
    why, hint, is_worse = "", report_command, False
    if not report.is_intact:
        why = "the canary report was edited after it was written"
    elif not_before is not None and report.until < not_before:
        why = "the canary report is older than the stage"
    elif report.until > not_after:
        why = f"the canary report ends in the future: until {report.until:%Y-%m-%d %H:%M} UTC"
    elif report.verdict == "rollback":
        why, hint, is_worse = f"the verdict is `rollback`: {'; '.join(report.reasons)}", "flowai rollback", True
    elif report.verdict != "promote":
        why = f"the verdict is `{report.verdict}`: {'; '.join(report.reasons)}"
    return StageEvidence(
        is_enough=not why,
        blocked_by=why,
        hint=hint if why else None,
        candidate_is_worse=is_worse,
        evidence={"verdict": report.verdict, "until": report.until.isoformat()},
        report_digest=report.digest,
    )


def soak_evidence(registry: Registry, *, started_at: datetime | None, now: datetime) -> StageEvidence:
    """Return the evidence of the last stage: the soak is over."""
    soak_s = registry.policies.canary.soak_s
    if started_at is None:
        return StageEvidence(
            is_enough=False, blocked_by="the ledger does not contain the start of 100 %", hint="--force --reason"
        )
    passed_s = (now - started_at).total_seconds()
    evidence = {"soaked_s": round(passed_s), "soak_s": soak_s}
    if passed_s < soak_s:
        until = started_at + timedelta(seconds=soak_s)
        why = f"it soaks until {until:%Y-%m-%d %H:%M} UTC"
        return StageEvidence(
            is_enough=False, blocked_by=why, hint="`flowai watch` checks it meanwhile", evidence=evidence
        )
    return StageEvidence(is_enough=True, evidence=evidence)
