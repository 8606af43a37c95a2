"""`flowai upgrade`: tries a model in another's place in every feature, and proposes the release that uses it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from flowai.rendering.report_files import write_result
from flowai.storage.files import write_atomic
from flowai.upgrades.adaptation.adapt import adapt_prompt
from flowai.upgrades.candidate import other_uses, registry_diff
from flowai.upgrades.feature_upgrade import Findings, feature_report, plan_suites, run_suites
from flowai.upgrades.log.stage import open_logged_stage, run_logged
from flowai.upgrades.page import WRITERS
from flowai.upgrades.publishing import Publication, apply_upgrade
from flowai.upgrades.records import FeatureUpgrade, UpgradeReport
from flowai.upgrades.setup import probe_parameters
from flowai.upgrades.spending import Spending
from flowai.upgrades.verdict import overall

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from flowai.evals.runs.trials import Observer
    from flowai.upgrades.adaptation.adapt import Adaptation
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

    publication: Publication
    directory: Path
    unwritten: tuple[str, ...] = ()
    """A line per report file that cannot be written."""


def run_upgrade(setup: UpgradeSetup, options: UpgradeOptions, progress: Progress) -> UpgradeResult:
    """Try the new model in every feature, write the report, and publish the release if the options say so.

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
    _check_suites(setup, options)
    parameters = probe_parameters(setup, options, spending)
    candidate = setup.candidate(options, parameters)
    workspace = setup.with_candidate(candidate)
    features, drafts = [], {}
    for feature in setup.change.features:
        item, adaptation = _try_feature(
            setup, workspace, candidate, feature, parameters[feature], options, spending, progress
        )
        features.append(item)
        if adaptation is not None and adaptation.prompt is not None and item.verdict in {"equal", "better"}:
            drafts[feature] = adaptation
    prompts = {feature: str(item.prompt) for feature, item in drafts.items()}
    texts = {str(item.prompt): item.text for item in drafts.values()}
    candidate = replace(setup.candidate(options, parameters, prompts), prompts=texts)
    report = _build_report(setup, options, candidate, features, spending, started_at)
    directory = workspace.project.reports / "upgrade" / f"{setup.change.old}-{setup.change.new}"
    files = [*(directory / name for name in STANDARD_NAMES), *options.outputs]
    for prompt_id, text in candidate.prompts.items():
        write_atomic(directory / f"{prompt_id}.prompt", text)
    unwritten = write_result(report, files, WRITERS)  # what was paid for is written before the registry changes
    with progress("publish" if options.publishes else "") as observer:
        publication = apply_upgrade(setup, options, report, candidate, observer)
    if publication.report != report:
        unwritten = write_result(publication.report, files, WRITERS)
    return UpgradeResult(publication=publication, directory=directory, unwritten=unwritten)


def _check_suites(setup: UpgradeSetup, options: UpgradeOptions) -> None:
    """Plan every feature once, so that mistakes in suites and baselines are reported before any call."""
    candidate = setup.candidate(options, setup.known)
    workspace = setup.with_candidate(candidate)
    for feature in setup.change.features:
        plan_suites(workspace, setup.pair(workspace, candidate, feature), options)


def _try_feature(  # noqa: PLR0913, PLR0917 - one step of `run_upgrade`
    setup: UpgradeSetup,
    workspace: Workspace,
    candidate: Candidate,
    feature: str,
    parameters: tuple[ParameterChange, ...],
    options: UpgradeOptions,
    spending: Spending,
    progress: Progress,
) -> tuple[FeatureUpgrade, Adaptation | None]:
    pair = setup.pair(workspace, candidate, feature)
    own = Spending(max_usd=spending.left_usd)
    task = plan_suites(workspace, pair, options)
    logged = open_logged_stage(workspace, pair, task.suites, setup.new, options, margin=task.judging.loss)
    stages: list[Findings] = []
    adaptation = None
    if logged.blocker is not None:  # nothing is paid for a feature that the new model cannot serve
        stages.append(Findings(blocker=logged.blocker))
    else:
        alpha = options.alpha / (1 + logged.judged_count)
        with progress(f"{feature}: suites") as observer:
            found = run_suites(task, options, own, observer, alpha=alpha)
        if options.adapts is not None and any(item.verdict in {"worse", "undecided"} for item in found.evidence):
            with progress(f"{feature}: prompt for the new model") as observer:
                adaptation = adapt_prompt(task, found, options, own, observer, alpha=alpha)
        stages += [found] if adaptation is None else adaptation.stages
        if options.from_log:
            with progress(f"{feature}: logged requests") as observer:
                stages.append(
                    run_logged(logged, workspace, pair, options, own, observer, judging=task.judging, alpha=alpha)
                )
    spending.join(own)
    report = feature_report(pair, stages, parameters, own)
    if adaptation is not None and adaptation.prompt is not None:
        report = msgspec.structs.replace(report, proposed_prompt=f"{adaptation.prompt}.prompt")
    return report, adaptation


def _build_report(
    setup: UpgradeSetup,
    options: UpgradeOptions,
    candidate: Candidate,
    features: list[FeatureUpgrade],
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
        kept_call_count=spending.kept_count,
        cost_usd=None if spending.unpriced_count else spending.cost_usd,
        warnings=setup.warnings,
    )
