"""Opens an upgrade: both models, the features, and everything that can be refused before any call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.providers import PriceTable
from flowai.providers.model_facts import model_facts
from flowai.registry import binding, sent_params
from flowai.releases.registry_source import open_source
from flowai.rendering.report_files import check_endings
from flowai.upgrades.candidate import (
    build_candidate,
    candidate_registry,
    describe_model,
    registry_diff,
    resolve_change,
    with_new_model,
)
from flowai.upgrades.options import check_options
from flowai.upgrades.page import WRITERS
from flowai.upgrades.parameters import known_changes, probe
from flowai.upgrades.suite_runs import FeaturePair
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from flowai.upgrades.candidate import Candidate, ModelChange
    from flowai.upgrades.options import UpgradeOptions
    from flowai.upgrades.records import ParameterChange, UpgradeModel
    from flowai.upgrades.spending import Spending
    from flowai.workspace.workspace import CommandContext, Workspace

WARN_DAYS = 60
"""End dates within this time are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpgradeSetup:
    """An upgrade before its first call."""

    workspace: Workspace
    """The registry as it is on disk."""
    change: ModelChange
    old: UpgradeModel
    new: UpgradeModel
    known: Mapping[str, tuple[ParameterChange, ...]]
    """What the provider data says about the parameters of each feature."""
    params: Mapping[str, Mapping[str, Any]]
    """Parameters that each feature sends."""
    warnings: tuple[str, ...]

    def candidate(
        self,
        options: UpgradeOptions,
        changes: Mapping[str, tuple[ParameterChange, ...]],
        prompts: Mapping[str, str] | None = None,
    ) -> Candidate:
        """Return the new release, without the parameters that the new model refuses."""
        removed = {
            feature: [item.name for item in found if item.effect == "removed"] for feature, found in changes.items()
        }
        return build_candidate(self.workspace, self.change, removed, name=options.release, prompts=prompts)

    def with_candidate(self, candidate: Candidate) -> Workspace:
        """Return the workspace with the new model and the new release; nothing is written."""
        registry = candidate_registry(self.workspace.registry, self.change, candidate)
        return replace(self.workspace, registry=registry)

    def pair(self, workspace: Workspace, candidate: Candidate, feature: str) -> FeaturePair:
        """Return a feature with the bindings of both models."""
        registry = workspace.registry
        return FeaturePair(
            feature=feature,
            old=binding(registry, self.change.serving, feature),
            new=binding(registry, candidate.name, feature),
        )


def open_upgrade(context: CommandContext, options: UpgradeOptions) -> UpgradeSetup:
    """Open an upgrade; nothing is called and nothing is written.

    Raises:
        UsageError: an option is wrong, a model is unknown, unused or retired.
        ProjectError: a file of the project is wrong, or a key is not set.
    """
    check_options(options)
    check_endings(options.outputs, WRITERS)
    with open_source(context.directory, named=None, env=options.env, environ=context.environ) as source:
        source.require_registry()
        context = replace(context, env=source.environment)
    workspace = open_workspace(context, models=[name for name in (options.judge, options.adapts) if name is not None])
    change = resolve_change(workspace, options.old, options.new, options.features)
    _check_log(workspace, change, options)
    if options.adapts is not None:
        workspace.resolve_endpoint(options.adapts)
    registry, prices = with_new_model(workspace.registry, change), PriceTable()
    old = describe_model(registry, change.old, prices)
    new = describe_model(registry, change.new, prices, is_new_entry=change.new_entry is not None)
    _check_alive(new, context, options)
    both = replace(workspace, registry=registry)
    if options.replay is None:
        both.resolve_endpoint(change.new)  # a missing key is reported before any call
        if options.baseline is None:
            both.resolve_endpoint(change.old)
    params = {feature: _params_of(both, change, feature) for feature in change.features}
    known = {feature: known_changes(both.endpoint(change.new), own, prices) for feature, own in params.items()}
    setup = UpgradeSetup(
        workspace=workspace,
        change=change,
        old=old,
        new=new,
        known=known,
        params=params,
        warnings=(*workspace.warnings, *_warnings(old, new, context, prices)),
    )
    registry_diff(
        workspace, setup.candidate(options, known)
    )  # files that cannot be edited are reported before any call
    return setup


def probe_parameters(
    setup: UpgradeSetup, options: UpgradeOptions, spending: Spending
) -> dict[str, tuple[ParameterChange, ...]]:
    """Call both models once for each set of parameters; return what changes for each feature.

    Raises:
        InfrastructureError: a model does not answer.
    """
    if options.replay is not None:
        return dict(setup.known)
    change = setup.change
    workspace = replace(setup.workspace, registry=with_new_model(setup.workspace.registry, change))
    answers: dict[str, tuple[ParameterChange, ...]] = {}
    found: dict[str, tuple[ParameterChange, ...]] = {}
    for feature in change.features:
        known = setup.known[feature]
        refused = {item.name for item in known if item.effect == "removed"}
        params = {name: value for name, value in setup.params[feature].items() if name not in refused}
        key = repr(sorted(params.items()))
        if key not in answers:
            if options.baseline is None and not answers:
                old = probe(workspace, change.old, setup.params[feature])
                spending.add([old.completion.cost_usd])
            answer = probe(workspace, change.new, params)
            spending.add([answer.completion.cost_usd])
            answers[key] = answer.removed
        removed = {item.name for item in answers[key]}
        found[feature] = (*(item for item in known if item.name not in removed), *answers[key])
    return found


def _params_of(workspace: Workspace, change: ModelChange, feature: str) -> dict[str, Any]:
    bound = binding(workspace.registry, change.serving, feature)
    params = sent_params(workspace.library.load(bound.prompt).config, bound.params)
    limit = workspace.registry.feature(feature).budget.completion_tokens
    if limit is not None and "max_completion_tokens" not in params:
        params.setdefault("max_tokens", limit)
    return params


def _check_log(workspace: Workspace, change: ModelChange, options: UpgradeOptions) -> None:
    """Check that some feature logs content, and that the judge has a key."""
    if not options.from_log:
        return
    contents = {workspace.registry.feature(feature).log_content for feature in change.features}
    if contents == {"none"}:
        raise UsageError(
            f"--from-log: none of {', '.join(f'`{name}`' for name in change.features)} logs requests",
            hint="set `log_content: redacted` of a feature, and wait for calls",
        )
    if options.judge is not None:
        workspace.resolve_endpoint(options.judge)


def _check_alive(new: UpgradeModel, context: CommandContext, options: UpgradeOptions) -> None:
    days_left = _days_left(new, context)
    if days_left is not None and days_left <= 0:
        raise UsageError(
            f"`{options.new}` was retired on {new.end_date}", hint="`flowai models` lists end dates; name another model"
        )


def _warnings(old: UpgradeModel, new: UpgradeModel, context: CommandContext, prices: PriceTable) -> tuple[str, ...]:
    found = []
    days_left = _days_left(new, context)
    if days_left is not None and days_left <= WARN_DAYS:
        found.append(f"`{new.name}` is retired in {days_left} days, on {new.end_date}")
    lost = set(_capabilities(old, prices)) - set(_capabilities(new, prices))
    if lost and _capabilities(new, prices):
        found.append(f"the price table lists no {', '.join(sorted(lost))} for `{new.name}`")
    for name, limit in (("context", "max_input_tokens"), ("answer limit", "max_output_tokens")):
        before, after = getattr(old, limit), getattr(new, limit)
        if before is not None and after is not None and after < before:
            found.append(f"the {name} of `{new.name}` is smaller: {after:,} tokens instead of {before:,}")
    return tuple(found)


def _capabilities(model: UpgradeModel, prices: PriceTable) -> tuple[str, ...]:
    facts = model_facts(model.model, prices)
    return () if facts is None else facts.capabilities


def _days_left(model: UpgradeModel, context: CommandContext) -> int | None:
    return None if model.end_date is None else (model.end_date - context.now().date()).days
