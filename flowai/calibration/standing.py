"""Decides whether the scores of a comparison may decide: one judge, calibrated, fresh and above the floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.calibration.files import fresh_calibration
from flowai.calibration.floor import floor_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from flowai.calibration.records import Calibration

NO_HASH = ""
"""Key of scores without a judge's hash: of people and other systems."""

_MAX_NAMED = 3
_SHOWN_DIGITS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeStanding:
    """Standing of the judges of some scores: whether these may decide."""

    judge_hashes: tuple[str, ...]
    """Hashes of the judges, in order of their scores, most first; "" for scores without a hash."""
    calibration: Calibration | None = None
    """Of the only judge; None if there is none."""
    problem: str | None = None
    """Why the scores are shown and decide nothing; None if they decide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgingRules:
    """Calibrations of a project, and the policy that they must meet."""

    calibrations: tuple[Calibration, ...]
    min_youden: float
    """`policies.judging.min_youden`."""
    max_age_s: float
    """`policies.judging.max_age`, seconds."""
    now: datetime

    def standing(self, name: str, scores: Mapping[str, int]) -> JudgeStanding | None:
        """Return whether scores may decide; None if no judge is named: then they are taken as they are.

        Args:
            name: the judged property (`hallucination`).
            scores: by the judge's hash, the number of scores; under `NO_HASH` those without.
        """
        counts = {judge_hash: count for judge_hash, count in scores.items() if count > 0}
        hashes = tuple(sorted(counts, key=lambda one: (-counts[one], one)))
        if not hashes or hashes == (NO_HASH,):
            return None
        if len(hashes) > 1:
            return JudgeStanding(judge_hashes=hashes, problem=_mixed_text(hashes, counts))
        calibration = fresh_calibration(self.calibrations, name, hashes[0])
        if calibration is None:
            return JudgeStanding(judge_hashes=hashes, problem=self._missing_text(name, hashes[0]))
        problem = floor_problem(calibration, min_youden=self.min_youden, max_age_s=self.max_age_s, now=self.now)
        return JudgeStanding(judge_hashes=hashes, calibration=calibration, problem=problem)

    def _missing_text(self, name: str, judge_hash: str) -> str:
        others = [one for one in self.calibrations if one.name == name]
        if not others:
            return f"judge {shown_hash(judge_hash)} is not calibrated"
        latest = max(others, key=lambda one: one.at)
        return (
            f"prompt or model of the judge changed: judge {shown_hash(judge_hash)} is not calibrated, "
            f"the calibration is of judge {shown_hash(latest.judge_hash)}"
        )


def shown_hash(judge_hash: str) -> str:
    """Return the first digits of a judge's hash; it may come from a log."""
    return "".join(one for one in judge_hash[:_SHOWN_DIGITS] if one.isalnum()) or "(no hash)"


def _mixed_text(hashes: Iterable[str], counts: Mapping[str, int]) -> str:
    named = [
        f"{counts[one]:,} of judge {shown_hash(one)}" if one != NO_HASH else f"{counts[one]:,} without a judge's hash"
        for one in hashes
    ]
    more = f" and {len(named) - _MAX_NAMED} more judges" if len(named) > _MAX_NAMED else ""
    return f"scores of several judges are mixed: {', '.join(named[:_MAX_NAMED])}{more}"
