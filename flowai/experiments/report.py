"""`flowai experiment report`: compares the arms of an experiment and writes the report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, get_args

from flowai.analytics.event_query import TimeRange, days_around
from flowai.canary.report import judged_metrics
from flowai.comparison.count import count_log
from flowai.comparison.page import page_writers
from flowai.errors import InconclusiveError, Place, RegistryError, UsageError, expected_one_of
from flowai.experiments.judge import ExperimentRules, evaluate_experiment
from flowai.experiments.pages import experiment_page
from flowai.experiments.report_records import Goal
from flowai.experiments.spec import EXPERIMENT_METRICS, experiment_spec, start_of
from flowai.releases.ledger import read_ledger
from flowai.rendering.report_files import check_endings, write_reports
from flowai.timestamps import parse_moment, parse_option_s, to_us
from flowai.workspace.event_source import open_event_source
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from flowai.analytics.records import Metric
    from flowai.comparison.spec import ComparisonSpec
    from flowai.experiments.report_records import ExperimentReport
    from flowai.registry import Registry
    from flowai.registry.records import Experiment
    from flowai.releases.ledger import Ledger, LedgerEntry
    from flowai.rendering.report_files import Writers
    from flowai.workspace.workspace import CommandContext, Workspace


MAX_SEARCH_RANGE = timedelta(days=90)
"""Range in which an experiment's first call is searched; a log may hold years, in an object store."""

WRITERS: Writers[ExperimentReport] = page_writers(experiment_page)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentOptions:
    """Options of `flowai experiment report`."""

    name: str
    since: str | None = None
    """Start, as typed; None for the first call, within 90 days."""
    until: str | None = None
    """End, as typed; None for now."""
    window: str = "1h"
    """Time after a call in which feedback counts, as typed."""
    outputs: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentResult:
    """Result of `flowai experiment report`."""

    report: ExperimentReport
    directory: Path


def run_experiment_report(context: CommandContext, options: ExperimentOptions) -> ExperimentResult:
    """Compare the arms and write the report; raises InconclusiveError if the log has no call of the experiment."""
    check_endings(options.outputs, WRITERS)
    workspace = open_workspace(context)
    registry = workspace.registry
    ledger = read_ledger(context.project, registry.environment)
    if options.name not in registry.experiments:
        raise no_experiment(registry, ledger, options.name)
    experiment = registry.experiments[options.name]
    goal = _goal(workspace, options.name, experiment)
    now = context.now().replace(microsecond=0)
    spec = _comparison_spec(workspace, ledger, experiment, options, now)
    source = open_event_source(registry, context.project, workspace.environ, days_around(spec.time_range))
    with source as directories:
        counts = count_log(directories, spec)
    rules = replace(_rules(workspace, options.name, experiment, goal), judged=judged_metrics(workspace, counts))
    report = evaluate_experiment(counts, spec, rules, warnings=ledger.warnings)
    directory = context.project.reports / "experiments" / options.name
    paths = (directory / "report.md", directory / "report.html", *options.outputs, directory / "report.json")
    write_reports(report, paths, WRITERS)
    return ExperimentResult(report=report, directory=directory)


def _goal(workspace: Workspace, name: str, experiment: Experiment) -> Goal:
    known: tuple[Goal, ...] = get_args(Goal)
    for goal in known:
        if goal == experiment.goal:
            return goal
    raise RegistryError(
        f"the goal `{experiment.goal}` cannot be measured",
        place=Place(file=workspace.registry.own_file, key=f"experiments.{name}.goal"),
        hint=expected_one_of(known, found=experiment.goal),
    )


def _comparison_spec(
    workspace: Workspace, ledger: Ledger, experiment: Experiment, options: ExperimentOptions, now: datetime
) -> ComparisonSpec:
    until = now if options.until is None else parse_moment(options.until, now=now, option="--until")
    feedback_us = round(parse_option_s(options.window, option="--window") * 1_000_000)
    if options.since is not None:
        since_us = to_us(parse_moment(options.since, now=now, option="--since"))
    else:
        before = end_entry(ledger, options.name)
        searched = TimeRange(since_us=to_us(before.at if before else until - MAX_SEARCH_RANGE), until_us=to_us(until))
        source = open_event_source(workspace.registry, workspace.project, workspace.environ, days_around(searched))
        with source as directories:
            first_us = start_of(directories, options.name, searched)
        if first_us is None:
            raise InconclusiveError(
                f"the log has no call of the experiment `{options.name}`",
                hint=f"calls of `{experiment.feature}` take part once a process has read the registry",
            )
        since_us = first_us
    if since_us >= to_us(until):
        raise UsageError("`--until` must be after `--since`")
    return experiment_spec(
        options.name,
        tuple(experiment.arms),
        feature=experiment.feature,
        time_range=TimeRange(since_us=since_us, until_us=to_us(until)),
        feedback_us=feedback_us,
        now_us=to_us(now),
    )


def _rules(workspace: Workspace, name: str, experiment: Experiment, goal: Goal) -> ExperimentRules:
    """Return the rules: alpha, guardrails and margins are those of rollouts."""
    policy = workspace.registry.policies.canary
    margins: dict[Metric, float] = {name: policy.margins.of(name) for name in EXPERIMENT_METRICS}
    return ExperimentRules(
        experiment=name,
        feature=experiment.feature,
        goal=goal,
        alpha=policy.alpha,
        guardrails=tuple(one for one in policy.guardrails if one != goal) or ("error_rate",),
        margins=margins,
        environment=workspace.registry.environment,
    )


def end_entry(ledger: Ledger, experiment: str) -> LedgerEntry | None:
    """Return the newest ledger entry that ended an experiment of this name."""
    return next((one for one in reversed(ledger.entries) if one.experiment == experiment), None)


def how_it_ended(entry: LedgerEntry) -> str:
    """Return how an experiment ended: `adopted as v3 by ann on 2026-05-02`."""
    how = f"adopted as {entry.release}" if entry.action == "adopt" else "stopped"
    return f"{how} by {entry.actor} on {entry.at:%Y-%m-%d}"


def no_experiment(registry: Registry, ledger: Ledger, name: str) -> UsageError:
    """Return the error for an experiment that does not exist or has ended."""
    ended = end_entry(ledger, name)
    if ended is not None:
        hint = f"its last report: reports/experiments/{name}/report.md"
        return UsageError(f"the experiment `{name}` has ended: {how_it_ended(ended)}", hint=hint)
    hint = expected_one_of(registry.experiments, found=name) if registry.experiments else "the registry has none"
    return UsageError(f"no experiment `{name}` in `{registry.own_file}`", hint=hint)
