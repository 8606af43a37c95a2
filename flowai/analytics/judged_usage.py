"""Corrects the share of hallucinations of a time range by the calibration of the judge that scored the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.analytics.records import Range, ReportRecord
from flowai.calibration import JudgingRules, read_calibrations
from flowai.rendering.formatting import rate
from flowai.statistics.corrected_rates import corrected_rate
from flowai.timestamps import format_rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.workspace.workspace import Workspace

PROPERTY = "hallucination"


class JudgedUsage(ReportRecord, frozen=True, kw_only=True):
    """Share of hallucinations in all scored calls of the report, as a judge measured it."""

    judge_hashes: tuple[str, ...]
    """Judges of the scores, most scores first; empty text for scores without a hash."""
    problem: str | None = None
    """Why the share is not corrected; None if it is."""
    calibrated_at: str | None = None
    """Time of the judge's calibration (RFC 3339, UTC); None if the share is not corrected."""
    corrected: Range | None = None
    """Corrected share; the interval includes the error of the calibration. None if it is not corrected."""


def judging_rules(workspace: Workspace) -> JudgingRules:
    """Return the calibrations of the project, and the policy that they must meet.

    Raises:
        ProjectError: a file in `evals/judges` is not a calibration.
    """
    policy = workspace.registry.policies.judging
    return JudgingRules(
        calibrations=read_calibrations(workspace.project.root),
        min_youden=policy.min_youden,
        max_age_s=policy.max_age_s,
        now=workspace.context.now(),
    )


def judged_usage(workspace: Workspace, scores: Mapping[str, tuple[int, int]]) -> JudgedUsage | None:
    """Return the corrected share; None if no score names its judge.

    Args:
        workspace: of the project with the calibrations.
        scores: by the judge's hash, scored calls and flagged ones.
    """
    if not any(scores):
        return None
    standing = judging_rules(workspace).standing(PROPERTY, {judge: count for judge, (count, _) in scores.items()})
    if standing is None:
        return None
    if standing.problem is not None or standing.calibration is None:
        return JudgedUsage(judge_hashes=standing.judge_hashes, problem=standing.problem)
    scored, flagged = scores[standing.judge_hashes[0]]
    found = corrected_rate(flagged, scored, standing.calibration.counts)
    return JudgedUsage(
        judge_hashes=standing.judge_hashes,
        calibrated_at=format_rfc3339(standing.calibration.at, whole_seconds=True),
        corrected=Range(estimate=found.estimate, low=found.low, high=found.high),
    )


def judged_line(judged: JudgedUsage | None) -> str | None:
    """Return a line about the judge's error; None without a judge."""
    if judged is None:
        return None
    if judged.corrected is None:
        return f"hallucinated: as the judge flags, not corrected: {judged.problem}"
    corrected = judged.corrected
    return (
        f"hallucinated: as the judge flags; corrected by its calibration of {(judged.calibrated_at or '')[:10]} "
        f"{rate(corrected.estimate)} [{rate(corrected.low)}, {rate(corrected.high)}] of all scored calls"
    )
