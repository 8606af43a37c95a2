"""`flowai canary-report`: compares a candidate with its control and writes the report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.analytics.event_query import days_around
from flowai.analytics.judged_usage import judging_rules
from flowai.canary.judge import evaluate_rollout
from flowai.canary.pages import canary_page
from flowai.canary.plots import svgs_of
from flowai.canary.stage_history import rollout_of
from flowai.comparison.count import count_log
from flowai.comparison.evidence import DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.comparison.page import page_writers
from flowai.comparison.spec import ComparisonSpec, rollout_sides
from flowai.rendering.report_files import check_endings, write_reports
from flowai.storage.files import write_atomic
from flowai.timestamps import parse_moment, parse_option_s, to_us
from flowai.workspace.event_source import open_event_source
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.analytics.records import Metric
    from flowai.calibration import JudgeStanding
    from flowai.canary.report_records import CanaryReport
    from flowai.comparison.counts import Counts
    from flowai.rendering.report_files import Writers
    from flowai.workspace.workspace import CommandContext, Workspace

WRITERS: Writers[CanaryReport] = page_writers(canary_page)


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryOptions:
    """Options of `flowai canary-report`."""

    candidate: str | None = None
    """The release; None for the active rollout's."""
    stage: int | None = None
    """Percentage of a past rollout that no ledger knows."""
    since: str | None = None
    """Start, as typed; None for the rollout's."""
    until: str | None = None
    """End, as typed; None for now, or the past rollout's end."""
    feature: str | None = None
    """None for all features."""
    window: str = "1h"
    """Time after a call in which feedback and scores count, as typed."""
    replay: bool = False
    """Whether to compute the verdict at each earlier hour."""
    outputs: tuple[Path, ...] = ()

    @property
    def is_part(self) -> bool:
        """A part of the calls is reported on; an earlier end is no part, as evidence is valid at every time."""
        return self.feature is not None or self.since is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryResult:
    """Result of `flowai canary-report`."""

    report: CanaryReport
    directory: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryEvaluation:
    """Report of a rollout, and the counts that it was computed from."""

    report: CanaryReport
    counts: Counts


def run_canary_report(context: CommandContext, options: CanaryOptions) -> CanaryResult:
    """Compare the candidate with its control and write the report; raises InconclusiveError without a rollout."""
    check_endings(options.outputs, WRITERS)
    report = evaluate_log(open_workspace(context), options).report
    # a report on a part of the calls must not be where `release promote` expects the whole
    part = "-part" if options.is_part else ""
    directory = context.project.reports / "canary" / f"{report.candidate}-{report.stage}{part}"
    for name, svg in svgs_of(report).items():
        write_atomic(directory / name, svg)
    # the JSON is written last: `release promote` reads it, and then the other files exist already
    paths = (directory / "report.md", directory / "report.html", *options.outputs, directory / "report.json")
    write_reports(report, paths, WRITERS)
    return CanaryResult(report=report, directory=directory)


def evaluate_log(workspace: Workspace, options: CanaryOptions) -> CanaryEvaluation:
    """Count the event log and judge the rollout, without writing a file.

    Raises InconclusiveError without a rollout, InfrastructureError if the log cannot be read.
    """
    if options.feature is not None:
        workspace.registry.feature(options.feature)
    now = workspace.context.now().replace(microsecond=0)
    until = None if options.until is None else parse_moment(options.until, now=now, option="--until")
    rollout = rollout_of(
        workspace,
        candidate=options.candidate,
        percent=options.stage,
        since=None if options.since is None else parse_moment(options.since, now=now, option="--since"),
        until=until,
        now=now,
    )
    spec = ComparisonSpec(
        sides=rollout_sides(rollout.candidate),
        stages=rollout.stages,
        feature=options.feature,
        feedback_us=round(parse_option_s(options.window, option="--window") * 1_000_000),
        now_us=to_us(now if until is None else min(now, until)),  # as a look at that time found it
        clock_us=to_us(now),
    )
    places = open_event_source(workspace.registry, workspace.project, workspace.environ, days_around(spec.time_range))
    with places as directories:
        counts = count_log(directories, spec)
    report = evaluate_rollout(
        counts,
        spec,
        _rules(workspace, counts),
        replay=options.replay,
        doubts=rollout.doubts,
        warnings=rollout.warnings,
        is_decisive=rollout.is_active and not options.is_part,
    )
    return CanaryEvaluation(report=report, counts=counts)


def _rules(workspace: Workspace, counts: Counts) -> DecisionRules:
    served: dict[str, int] = {}
    for (side, release, _), hours in counts.releases.items():
        if side == "control" and release:
            served[release] = served.get(release, 0) + sum(hours.values())
    baseline = max(sorted(served), key=served.__getitem__, default=workspace.release)
    return replace(rules_of(workspace, baseline=baseline), judged=judged_metrics(workspace, counts))


def judged_metrics(workspace: Workspace, counts: Counts) -> dict[Metric, JudgeStanding]:
    """Return by metric whether the scores of its judge may decide; nothing for scores without a judge's hash."""
    names = dict.fromkeys(name for name, _ in counts.judges)
    if not names:
        return {}
    rules = judging_rules(workspace)
    standings = {name: rules.standing(name, counts.scores_of(name)) for name in names}
    return {name: standing for name, standing in standings.items() if standing is not None}


def rules_of(workspace: Workspace, *, baseline: str) -> DecisionRules:
    """Return the decision rules of the project's policy; `baseline` is the release that the control serves."""
    policy = workspace.registry.policies.canary
    margins: dict[Metric, float] = {name: policy.margins.of(name) for name in METRICS}
    return DecisionRules(
        alpha=policy.alpha,
        guardrails=policy.guardrails,
        margins=margins,
        baseline=baseline,
        environment=workspace.registry.environment,
    )
