"""`flowai upgrade --dry-run`: calls and cost at most; nothing is called and nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.runs.trials import ASSUMED_OUTPUT_TOKENS, Forecast, ForecastBuilder
from flowai.providers import PriceTable
from flowai.providers.endpoint_price import price_of
from flowai.upgrades.adaptation.adapt import MAX_ROUNDS, MAX_TRAINING_CASES, is_training
from flowai.upgrades.candidate import registry_diff
from flowai.upgrades.feature_upgrade import make_run, plan_suites
from flowai.upgrades.log.requests import LoggedPreparer
from flowai.upgrades.log.stage import LoggedStage, open_logged_stage
from flowai.upgrades.records import FeatureForecast, UpgradeForecast
from flowai.upgrades.spending import Spending

if TYPE_CHECKING:
    from flowai.evals.reports import Trial
    from flowai.evals.runs.records import PreparedTrial
    from flowai.upgrades.feature_upgrade import SuiteTask
    from flowai.upgrades.options import UpgradeOptions
    from flowai.upgrades.setup import UpgradeSetup
    from flowai.upgrades.suite_runs import FeaturePair
    from flowai.workspace.workspace import Workspace


class SilentObserver:
    """An observer that shows nothing."""

    def forecast(self, forecast: Forecast) -> None:
        """Do nothing."""

    def ready(self, model: str, load_s: float) -> None:
        """Do nothing."""

    def trial(self, trial: Trial) -> None:
        """Do nothing."""


def forecast_upgrade(setup: UpgradeSetup, options: UpgradeOptions) -> UpgradeForecast:
    """Return the calls that an upgrade makes at most, and what they cost about.

    Raises:
        ProjectError: a suite is wrong.
        UsageError: the baseline has no results, or no feature logs content.
    """
    candidate = setup.candidate(options, setup.known)
    workspace = setup.with_candidate(candidate)
    features, done_count = [], 0
    for feature in setup.change.features:
        task = plan_suites(workspace, setup.pair(workspace, candidate, feature), options)
        builder = ForecastBuilder()
        if task.plan:
            run = make_run(
                task.workspace, f"{feature}-suites", task.plan, options, Spending(max_usd=None), SilentObserver()
            )
            done_count += len(run.waiting_for(builder.add))
        pair = setup.pair(workspace, candidate, feature)
        logged = open_logged_stage(workspace, pair, task.suites, setup.new, options, margin=task.judging.loss)
        suite_call_count = builder.build(trial_count=len(task.plan), cached_count=0).call_count
        done_count += _add_logged(builder, workspace, pair, logged, options)
        found = builder.build(trial_count=len(task.plan), cached_count=0)
        judge_usd = _judge_usd(workspace, logged)
        notes = [*logged.notes, *([logged.blocker] if logged.blocker is not None else [])]
        if options.adapts is not None and task.plan:
            notes.append(f"--adapt: at most {_adapt_count(task):,} more calls if it is worse or undecided")
        if not task.plan:
            notes.append(f"no suite uses `{pair.old.prompt}`")
        features.append(
            FeatureForecast(
                feature=feature,
                case_count=len(task.case_counts),
                suite_call_count=suite_call_count,
                logged_call_count=found.call_count - suite_call_count,
                judge_call_count=logged.judge_call_count,
                cost_usd=None if found.cost_usd is None or judge_usd is None else found.cost_usd + judge_usd,
                note="; ".join(notes) or None,
            )
        )
    probe_count = 0 if options.replay is not None else len(set(map(repr, setup.params.values()))) + 1
    costs = [item.cost_usd for item in features]
    return UpgradeForecast(
        serving=setup.change.serving,
        candidate=candidate.name,
        old=setup.old,
        new=setup.new,
        features=tuple(features),
        probe_call_count=probe_count,
        call_count=probe_count
        + sum(item.suite_call_count + item.logged_call_count + item.judge_call_count for item in features),
        cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
        done_call_count=done_count,
        registry_diff=registry_diff(setup.workspace, candidate),
        warnings=setup.warnings,
    )


def _add_logged(
    builder: ForecastBuilder, workspace: Workspace, pair: FeaturePair, logged: LoggedStage, options: UpgradeOptions
) -> int:
    """Count the calls for logged requests; return the answers that are kept."""
    if not logged.sample.requests:
        return 0
    run = make_run(
        workspace,
        f"{pair.feature}-log",
        logged.task.plan,
        options,
        Spending(max_usd=None),
        SilentObserver(),
        preparer=lambda own: LoggedPreparer(workspace, pair, logged.task, own),
    )

    def add(prepared: PreparedTrial) -> None:
        if prepared.recorded is None:
            builder.add(prepared)

    return len(run.waiting_for(add))


def _judge_usd(workspace: Workspace, logged: LoggedStage) -> float | None:
    """Estimate the cost of the judge's calls; None if its price is not known."""
    if logged.judge is None:
        return 0.0
    judge = logged.judge.model
    price = price_of(workspace.with_models((judge,)).endpoint(judge), PriceTable())
    if price is None:
        return None
    tokens = sum(request.input_tokens for request in logged.sample.requests) * 2
    answers = logged.judge_call_count * ASSUMED_OUTPUT_TOKENS
    return price.cost_usd(tokens + 2 * answers, answers)


def _adapt_count(task: SuiteTask) -> int:
    """Return the most calls of an adaptation: templates, training cases on the new model, held-out cases on both."""
    held_out = sum(not is_training(key) for key in task.case_counts)
    training = min(MAX_TRAINING_CASES, len(task.case_counts) - held_out)
    return MAX_ROUNDS + (MAX_ROUNDS + 1) * training + 2 * held_out
