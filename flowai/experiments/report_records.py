"""Records of an experiment's report."""

from __future__ import annotations

from typing import Literal

# msgspec evaluates these annotations when records are built
from flowai.analytics.records import SCHEMA_VERSION, DataProblem, ReportRecord
from flowai.comparison.records import ArmReport, MetricReport
from flowai.errors import ExitCode

Goal = Literal["save_rate", "acceptance"]
"""Metrics that may decide an experiment."""

ExperimentVerdict = Literal["winner", "worse", "none", "invalid"]
"""`winner`: an arm is better than every other, and none of its guardrails is inferior. `worse`: a guardrail of an arm
is inferior, and there is no winner. `none`: neither yet. `invalid`: the comparison itself cannot be trusted, or data
are missing."""


class PairReport(ReportRecord, frozen=True, kw_only=True):
    """An arm compared with another."""

    arm: str
    """The candidate of `metrics`."""
    other: str
    """The control of `metrics`."""
    is_better: bool
    """Whether the goal of `arm` is shown to be better."""
    metrics: tuple[MetricReport, ...]
    """The goal first, then guardrails, then other metrics."""

    @property
    def goal(self) -> MetricReport:
        """Result for the goal."""
        return self.metrics[0]

    @property
    def worse(self) -> tuple[MetricReport, ...]:
        """Guardrails of the arm that are inferior."""
        return tuple(one for one in self.metrics if one.is_guardrail and one.status == "inferior")


class ExperimentReport(ReportRecord, frozen=True, kw_only=True):
    """Comparison of the arms of an experiment: a public format."""

    schema_version: int = SCHEMA_VERSION
    verdict: ExperimentVerdict
    reasons: tuple[str, ...]
    """The most important first."""
    experiment: str
    feature: str
    goal: Goal
    """The metric that decides."""
    environment: str | None
    """None in a project without environments."""
    winner: str | None
    """None without a winner."""
    leader: str | None
    """The arm with the best rate of the goal so far; None if there is none."""
    since: str
    """Start of the time range (RFC 3339, UTC)."""
    until: str
    """End of the time range (RFC 3339, UTC)."""
    unit: Literal["user", "call"]
    """Assignment unit: `user` (or session), or `call` if no call names one."""
    arms: dict[str, ArmReport]
    """By name, in the registry's order."""
    pairs: tuple[PairReport, ...]
    """Every arm compared with every other, both ways."""
    split: dict[str, int]
    """Users by arm, sampled alike in all arms."""
    split_e_value: float
    """Evidence that users do not divide evenly; it decides at 1,000."""
    goal_acts_at: float
    """Evidence at which an arm is better than another."""
    problems: tuple[DataProblem, ...]
    warnings: tuple[str, ...]
    needed_count: int | None
    """More users per arm until the leader wins, estimated; None if unknown or not needed."""
    needed_s: float | None
    """Seconds until then at this pace."""
    digest: str = ""
    """SHA-256 of the report's JSON without this field, hex."""

    def pair(self, arm: str, other: str) -> PairReport:
        """Return the comparison of an arm with another."""
        return next(one for one in self.pairs if (one.arm, one.other) == (arm, other))


def exit_code(verdict: ExperimentVerdict) -> ExitCode:
    """Return the exit status of a verdict: 0 for a winner, 1 for a worse guardrail, 5 otherwise."""
    if verdict == "winner":
        return ExitCode.DONE
    return ExitCode.GATE_NOT_MET if verdict == "worse" else ExitCode.INCONCLUSIVE
