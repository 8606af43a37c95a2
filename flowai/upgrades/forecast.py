"""`flowai upgrade --dry-run`: calls and cost at most; nothing is called and nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.runs.trials import Forecast, ForecastBuilder
from flowai.upgrades.candidate import registry_diff
from flowai.upgrades.feature_upgrade import make_run, plan_suites
from flowai.upgrades.records import FeatureForecast, UpgradeForecast
from flowai.upgrades.spending import Spending

if TYPE_CHECKING:
    from flowai.evals.reports import Trial
    from flowai.upgrades.options import UpgradeOptions
    from flowai.upgrades.setup import UpgradeSetup


class _Silent:
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
                task.workspace, f"{feature}-suites", task.plan, options, Spending(max_usd=None), _Silent()
            )
            done = run.finished() or {}
            done_count += len(done)
            for prepared in run.prepared.waiting(done.__contains__):
                builder.add(prepared)
        found = builder.build(trial_count=len(task.plan), cached_count=0)
        features.append(
            FeatureForecast(
                feature=feature,
                case_count=len(task.case_counts),
                suite_call_count=found.call_count,
                logged_call_count=0,
                judge_call_count=0,
                cost_usd=found.cost_usd,
                note=None if task.plan else f"no suite uses `{setup.pair(workspace, candidate, feature).old.prompt}`",
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
