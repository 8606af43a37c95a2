"""Decides whether a judge's calibration is good enough for its verdicts to count."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from flowai.calibration.records import Calibration, JudgeCounts

_SECONDS_PER_DAY = 86_400


def true_positive_rate(counts: JudgeCounts) -> float | None:
    """Return the share of faulty answers that the judge flags; None without faulty answers."""
    total = counts.true_positive_count + counts.false_negative_count
    return counts.true_positive_count / total if total else None


def true_negative_rate(counts: JudgeCounts) -> float | None:
    """Return the share of sound answers that the judge passes; None without sound answers."""
    total = counts.true_negative_count + counts.false_positive_count
    return counts.true_negative_count / total if total else None


def youden_index(counts: JudgeCounts) -> float | None:
    """Return the true positive rate plus the true negative rate minus 1; None if one of them is unknown."""
    positive, negative = true_positive_rate(counts), true_negative_rate(counts)
    return None if positive is None or negative is None else positive + negative - 1


def floor_problem(calibration: Calibration | None, *, min_youden: float, max_age_s: float, now: datetime) -> str | None:
    """Return why a judge's verdicts are shown and decide nothing; None if they decide.

    Args:
        calibration: of this very judge; None if it was not measured.
        min_youden: `policies.judging.min_youden`.
        max_age_s: `policies.judging.max_age`, seconds.
        now: current time.
    """
    if calibration is None:
        return "this judge is not calibrated"
    age_s = (now - calibration.at).total_seconds()
    if age_s > max_age_s:
        days, allowed = age_s / _SECONDS_PER_DAY, max_age_s / _SECONDS_PER_DAY
        return f"its calibration is {days:,.0f} days old, {allowed:,.0f} allowed"
    index = youden_index(calibration.counts)
    if index is None:
        return "its labels are all of one class"
    if index < min_youden:
        return f"its true positive rate plus true negative rate minus 1 is {index:.2f}, {min_youden:.2f} required"
    return None
