"""The records of an experiment's report: what each arm did, each arm against each other, and what follows.

In: nothing. Out: frozen records. Must never know where events come from or how a report looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

# msgspec reads these annotations when records are built
from flowai.analytics.records import SCHEMA_VERSION, DataProblem, ReportRecord
from flowai.comparison.records import ArmReport, MetricReport

if TYPE_CHECKING:
    from flowai.errors import ExitCode

Goal = Literal["save_rate", "acceptance"]
"""What may decide an experiment."""

ExperimentVerdict = Literal["winner", "worse", "none", "invalid"]
"""`winner`: one arm is better than every other, and no guardrail is worse. `worse`: a guardrail of an arm is worse, and
there is no winner. `none`: neither yet. `invalid`: the comparison itself is not to be trusted, or data are missing."""


class PairReport(ReportRecord, frozen=True, kw_only=True):
    """One arm held against one other.

    Args:
        arm: the one that is judged; the candidate of `metrics`.
        other: what it is held against; the control of `metrics`.
        is_better: whether it is shown to be better by the goal.
        metrics: the goal first, then guardrails, then the others.
    """

    arm: str
    other: str
    is_better: bool
    metrics: tuple[MetricReport, ...]

    @property
    def goal(self) -> MetricReport:
        """What was found about the goal."""
        return self.metrics[0]

    @property
    def worse(self) -> tuple[MetricReport, ...]:
        """The guardrails that are worse than the other arm's."""
        return tuple(one for one in self.metrics if one.is_guardrail and one.status == "worse")


class ExperimentReport(ReportRecord, frozen=True, kw_only=True):
    """The arms of an experiment side by side: a public format.

    Args:
        schema_version: version of this format: 1.
        verdict: what follows.
        reasons: why, the weightiest first.
        experiment: its name.
        feature: where it runs.
        goal: the metric that decides.
        environment: where; None where there are no environments.
        winner: the arm that won; None without one.
        leader: the arm whose goal is reached most often so far; None before any data.
        since: begin of the stretch that was looked at (RFC 3339, UTC).
        until: its end.
        unit: what counts once: `user` (or session), or `call` where no call names one.
        arms: by name, in the registry's order.
        pairs: every arm against every other, both ways.
        split: users by arm, as far as they can be held against the shares.
        split_e_value: evidence that they do not divide evenly; acts at 1,000.
        goal_acts_at: evidence at which an arm is better than another.
        problems: lines that could not be used.
        warnings: what else a person should know.
        needed_count: more users in each arm until the leader wins, about; None when not known or not needed.
        needed_s: seconds that takes at this pace.
        digest: SHA-256 of the report's JSON without this field, hex.
    """

    schema_version: int = SCHEMA_VERSION
    verdict: ExperimentVerdict
    reasons: tuple[str, ...]
    experiment: str
    feature: str
    goal: Goal
    environment: str | None
    winner: str | None
    leader: str | None
    since: str
    until: str
    unit: Literal["user", "call"]
    arms: dict[str, ArmReport]
    pairs: tuple[PairReport, ...]
    split: dict[str, int]
    split_e_value: float
    goal_acts_at: float
    problems: tuple[DataProblem, ...]
    warnings: tuple[str, ...]
    needed_count: int | None
    needed_s: float | None
    digest: str = ""

    def pair(self, arm: str, other: str) -> PairReport:
        """Give what was found about an arm against another."""
        return next(one for one in self.pairs if (one.arm, one.other) == (arm, other))


def exit_code(verdict: ExperimentVerdict) -> ExitCode:
    """Give the exit status a verdict stands for: 0 for a winner, 1 for a worse guardrail, 5 for neither."""
    from flowai.errors import ExitCode

    if verdict == "winner":
        return ExitCode.DONE
    return ExitCode.GATE_NOT_MET if verdict == "worse" else ExitCode.UNDECIDED
