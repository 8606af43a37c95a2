"""The accepted loss of suites that a judge grades: translated by its measured error, or nothing is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowai.evals.gate_judges import gating_judges
from flowai.evals.gates.judged import PASS_RATE, problem_of
from flowai.statistics import flagged_margin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.evals.suites.records import Suite
    from flowai.workspace.workspace import Workspace


class JudgedMargin(NamedTuple):
    """Accepted loss of a feature, and what a judge with errors shows of it."""

    loss: float
    """The accepted loss."""
    margin: float
    """Difference of verdicts that it causes at least."""
    note: str | None = None
    """How the judge's error changed it, or why the suites are shown and not judged; None without a calibration."""
    is_judged: bool = True


def judged_margin(workspace: Workspace, suites: Iterable[Suite], loss: float) -> JudgedMargin:
    """Return the smallest difference of verdicts that an accepted loss causes in any of the suites.

    Raises:
        ProjectError: a calibration cannot be read.
    """
    judges = [judge for own in gating_judges(workspace, suites).values() for judge in own]
    problem = problem_of(PASS_RATE, judges)
    if problem is not None:
        return JudgedMargin(loss, loss, problem, is_judged=False)
    calibrations = [judge.standing.calibration for judge in judges if PASS_RATE in judge.own_limits]
    margins = [flagged_margin(loss, one.counts) for one in calibrations if one is not None]
    if not margins:
        return JudgedMargin(loss, loss)
    smallest = min(margins)
    note = f"by the judge's error, a loss of {100 * loss:g} points shows as {100 * smallest:.1f} or more"
    return JudgedMargin(loss, smallest, note)
