"""`flowai upgrade`: tries a model in another's place in every feature, and proposes the release that uses it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.rendering.report_files import write_result
from flowai.upgrades.candidate import other_uses, registry_diff
from flowai.upgrades.feature_upgrade import feature_report, plan_suites, run_suites
from flowai.upgrades.page import WRITERS
from flowai.upgrades.records import FeatureReport, UpgradeReport
from flowai.upgrades.setup import probe_parameters
from flowai.upgrades.spending import Spending
from flowai.upgrades.verdict import overall

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from flowai.evals.runs.trials import Observer
    from flowai.upgrades.candidate import Candidate
    from flowai.upgrades.options import UpgradeOptions
    from flowai.upgrades.records import ParameterChange
    from flowai.upgrades.setup import UpgradeSetup
    from flowai.workspace.workspace import Workspace

    Progress = Callable[[str], AbstractContextManager[Observer]]

STANDARD_NAMES = ("report.json", "report.md", "report.html")


@dataclass(frozen=True, kw_only=True, slots=True)
class UpgradeResult:
    """Result of `flowai upgrade`."""

    report: UpgradeReport
    candidate: Candidate
    directory: Path
    unwritten: tuple[str, ...] = ()
    """A line per report file that cannot be written."""


def run_upgrade(setup: UpgradeSetup, options: UpgradeOptions, progress: Progress) -> UpgradeResult:
    """Try the new model in every feature and write the report; nothing else in the project changes.

    Args:
        setup: the upgrade.
        options: options of the command.
        progress: returns the observer of a stage, by its name.

    Raises:
        InfrastructureError: a model does not answer.
        InterruptedRunError: the user interrupted it; answers are kept, and the same command continues.
    """
    started_at = setup.workspace.context.timestamp()
    spending = Spending(max_usd=options.max_cost_usd)
    parameters = probe_parameters(setup, options, spending)
    candidate = setup.candidate(options, parameters)
    workspace = setup.with_candidate(candidate)
    features = [
        _try_feature(setup, workspace, candidate, feature, parameters[feature], options, spending, progress)
        for feature in setup.change.features
    ]
    report = _build_report(setup, options, candidate, features, spending, started_at)
    directory = workspace.project.reports / "upgrade" / f"{setup.change.old}-{setup.change.new}"
    return write_upgrade(UpgradeResult(report=report, candidate=candidate, directory=directory), options)


def write_upgrade(result: UpgradeResult, options: UpgradeOptions) -> UpgradeResult:
    """Write the report's files."""
    files = [*(result.directory / name for name in STANDARD_NAMES), *options.outputs]
    return replace(result, unwritten=write_result(result.report, files, WRITERS))


def _try_feature(  # noqa: PLR0913, PLR0917 - one step of `run_upgrade`
    setup: UpgradeSetup,
    workspace: Workspace,
    candidate: Candidate,
    feature: str,
    parameters: tuple[ParameterChange, ...],
    options: UpgradeOptions,
    spending: Spending,
    progress: Progress,
) -> FeatureReport:
    pair = setup.pair(workspace, candidate, feature)
    own = Spending(max_usd=spending.left_usd)
    task = plan_suites(workspace, pair, options)
    stages = []
    with progress(f"{feature}: suites") as observer:
        stages.append(run_suites(task, options, own, observer, alpha=options.alpha))
    spending.join(own)
    return feature_report(pair, stages, parameters, own)


def _build_report(
    setup: UpgradeSetup,
    options: UpgradeOptions,
    candidate: Candidate,
    features: list[FeatureReport],
    spending: Spending,
    started_at: str,
) -> UpgradeReport:
    workspace = setup.workspace
    env = f" --env {workspace.context.env}" if workspace.context.env else ""
    return UpgradeReport(
        at=started_at,
        environment=workspace.context.env,
        serving=setup.change.serving,
        candidate=candidate.name,
        old=setup.old,
        new=setup.new,
        verdict=overall(item.verdict for item in features),
        features=tuple(features),
        other_uses=tuple(other_uses(workspace.registry, setup.change.old)),
        registry_diff=registry_diff(workspace, candidate),
        stages=tuple(map(str, workspace.registry.policies.canary.stages)),
        publish_command=f"flowai release publish {candidate.name}{env}",
        rollback_command=f"flowai rollback{env} --reason TEXT",
        alpha=options.alpha,
        call_count=spending.call_count,
        cost_usd=None if spending.unpriced_count else spending.cost_usd,
        warnings=setup.warnings,
    )
