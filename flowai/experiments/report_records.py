"""The records of an experiment's report: what each arm did, each arm against each other, and what follows."""

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
    """One arm held against one other."""

    arm: str
    """The one that is judged; the candidate of `metrics`."""
    other: str
    """What it is held against; the control of `metrics`."""
    is_better: bool
    """Whether it is shown to be better by the goal."""
    metrics: tuple[MetricReport, ...]
    """The goal first, then guardrails, then the others."""

    @property
    def goal(self) -> MetricReport:
        """What was found about the goal."""
        return self.metrics[0]

    @property
    def worse(self) -> tuple[MetricReport, ...]:
        """The guardrails that are worse than the other arm's."""
        return tuple(one for one in self.metrics if one.is_guardrail and one.status == "worse")


class ExperimentReport(ReportRecord, frozen=True, kw_only=True):
    """The arms of an experiment side by side: a public format."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format: 1."""
    verdict: ExperimentVerdict
    """What follows."""
    reasons: tuple[str, ...]
    """Why, the weightiest first."""
    experiment: str
    """Its name."""
    feature: str
    """Where it runs."""
    goal: Goal
    """The metric that decides."""
    environment: str | None
    """Where; None where there are no environments."""
    winner: str | None
    """The arm that won; None without one."""
    leader: str | None
    """The arm whose goal is reached most often so far; None before any data."""
    since: str
    """Begin of the stretch that was looked at (RFC 3339, UTC)."""
    until: str
    """Its end."""
    unit: Literal["user", "call"]
    """What counts once: `user` (or session), or `call` where no call names one."""
    arms: dict[str, ArmReport]
    """By name, in the registry's order."""
    pairs: tuple[PairReport, ...]
    """Every arm against every other, both ways."""
    split: dict[str, int]
    """Users by arm, as far as they can be held against the shares."""
    split_e_value: float
    """Evidence that they do not divide evenly; acts at 1,000."""
    goal_acts_at: float
    """Evidence at which an arm is better than another."""
    problems: tuple[DataProblem, ...]
    """Lines that could not be used."""
    warnings: tuple[str, ...]
    """What else a person should know."""
    needed_count: int | None
    """More users in each arm until the leader wins, about; None when not known or not needed."""
    needed_s: float | None
    """Seconds that takes at this pace."""
    digest: str = ""
    """SHA-256 of the report's JSON without this field, hex."""

    def pair(self, arm: str, other: str) -> PairReport:
        """Give what was found about an arm against another."""
        return next(one for one in self.pairs if (one.arm, one.other) == (arm, other))


def exit_code(verdict: ExperimentVerdict) -> ExitCode:
    """Give the exit status a verdict stands for: 0 for a winner, 1 for a worse guardrail, 5 for neither."""
    from flowai.errors import ExitCode

    if verdict == "winner":
        return ExitCode.DONE
    return ExitCode.GATE_NOT_MET if verdict == "worse" else ExitCode.INCONCLUSIVE
