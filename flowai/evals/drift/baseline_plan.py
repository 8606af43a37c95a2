"""Plan of the trials that run a baseline again; cases that are no longer what they were are left out by name."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import Place, ProjectError
from flowai.evals.drift.options import MIN_REPEATS, writing_hint
from flowai.evals.execution.secrets import with_suite_secrets
from flowai.evals.gates.quarantine import FILE_NAME as QUARANTINE_FILE
from flowai.evals.gates.quarantine import active_and_expired, read_quarantine
from flowai.evals.gates.stopping import early_order
from flowai.evals.reports.drift_records import LeftOutCase
from flowai.evals.runs.answers.identities import case_hash, request_hash
from flowai.evals.runs.plan import EditedPlan, Selection, plan_trials
from flowai.evals.runs.resolver import TargetResolver, endpoint_models
from flowai.rendering.formatting import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flowai.evals.gates.records import Baseline, CaseResult, GroupKey
    from flowai.evals.runs.plan import PlannedTrial, RunPlan, SuiteTarget
    from flowai.evals.runs.prepared import Preparer
    from flowai.evals.suites.yaml_reader import LoadContext
    from flowai.workspace.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftPlan:
    """Trials to run, and what of the baseline they leave out."""

    workspace: Workspace
    """With the models of the baseline."""
    plan: RunPlan
    """By case, in the order in which cases are bet on."""
    left_out: Mapping[GroupKey, tuple[LeftOutCase, ...]]
    warnings: tuple[str, ...]


def plan_drift(
    workspace: Workspace,
    name: str,
    baseline: Baseline,
    *,
    repeats: int | None,
    load_context: Callable[[Workspace], LoadContext],
    preparer_of: Callable[[Workspace], Preparer],
) -> DriftPlan:
    """Plan the trials of a baseline's cases, on its prompts and models.

    Args:
        workspace: the project.
        name: name of the baseline.
        baseline: its results.
        repeats: trials of each case; None for as many as the baseline has, at least `MIN_REPEATS`.
        load_context: returns how suites are loaded.
        preparer_of: returns what prepares the trials.

    Raises:
        ProjectError: its suite, prompt or model is gone or another one, or none of its cases is left.
    """
    groups: dict[GroupKey, dict[str, CaseResult]] = defaultdict(dict)
    for result in baseline.results:
        groups[result.group][result.case] = result
    if repeats is None:
        repeats = max(MIN_REPEATS, *(len(result.first) for result in baseline.results))
    workspace = _with_models(workspace, groups)
    targets: list[SuiteTarget] = []
    for suite in dict.fromkeys(suite for suite, _, _ in groups):
        models = dict.fromkeys(model for path, _, model in groups if path == suite)
        targets += _suite_targets(workspace, name, suite, models, load_context(workspace))
    workspace = with_suite_secrets(workspace.with_models(endpoint_models(targets)), targets)
    found: dict[GroupKey, dict[str, list[PlannedTrial]]] = defaultdict(lambda: defaultdict(list))
    plan = plan_trials(targets, Selection(repeats=repeats))
    for trial in plan:
        group = (trial.suite.path, trial.target.prompt, trial.target.model)
        if group in groups and len(found[group][trial.case.id]) < repeats:
            found[group][trial.case.id].append(trial)
    changes = _ChangedCases(workspace, name, preparer_of(workspace))
    planned: list[PlannedTrial] = []
    left_out: dict[GroupKey, tuple[LeftOutCase, ...]] = {}
    for group, results in groups.items():
        kept, left_out[group] = changes.divide(group, results, found[group])
        planned += kept
    planned.sort(key=lambda trial: early_order((trial.suite.path, trial.case.id)))
    new_count = sum(len(cases.keys() - groups[group].keys()) for group, cases in found.items())
    warnings = [*changes.warnings]
    if new_count:
        warnings.append(f"not in the baseline `{name}`, not run: {count(new_count, 'case')}")
    return DriftPlan(workspace=workspace, plan=EditedPlan(plan, planned), left_out=left_out, warnings=tuple(warnings))


def _with_models(workspace: Workspace, groups: Iterable[GroupKey]) -> Workspace:
    """Return the workspace with the LiteLLM names of a baseline's models; others are the suites' own."""
    registry = workspace.registry
    names = dict.fromkeys(model for _, _, model in groups)
    return workspace.with_models([model for model in names if "/" in model and model not in registry.models])


def _suite_targets(
    workspace: Workspace, name: str, suite: str, models: Iterable[str], loading: LoadContext
) -> list[SuiteTarget]:
    """Return the suite's own targets, and those of models that the baseline was written for with `--model`."""
    hint = writing_hint("TARGET", name)
    if not workspace.project.inside(suite).is_file():
        raise ProjectError(f"the baseline `{name}` is of the suite `{suite}`, which does not exist", hint=hint)

    def resolver(names: tuple[str, ...]) -> TargetResolver:
        return TargetResolver(
            workspace.project,
            workspace.registry,
            workspace.library,
            release=workspace.release,
            models=names,
            loading=loading,
        )

    own = resolver(()).resolve(suite)
    known = {target.model for item in own for target in item.targets}
    known |= {case.provider.name for item in own for case in item.cases if case.provider is not None}
    missing = tuple(model for model in models if model not in known)
    unknown = [model for model in missing if model not in workspace.registry.models]
    if unknown:
        raise ProjectError(
            f"the baseline `{name}` is of the model `{unknown[0]}`, which neither the registry nor `{suite}` has",
            hint=writing_hint(suite, name),
        )
    return [*own, *(resolver(missing).resolve(suite) if missing else ())]


class _ChangedCases:
    """Compares the cases of a baseline with those of today."""

    def __init__(self, workspace: Workspace, name: str, preparer: Preparer) -> None:
        self._name = name
        self._preparer = preparer
        path = workspace.project.evals / QUARANTINE_FILE
        entries = read_quarantine(path, name=workspace.project.show(path))
        today = dt.date.fromisoformat(workspace.context.timestamp()[:10])
        self._quarantine, self.warnings = active_and_expired(entries, today)

    def divide(
        self, group: GroupKey, results: Mapping[str, CaseResult], trials: Mapping[str, list[PlannedTrial]]
    ) -> tuple[list[PlannedTrial], tuple[LeftOutCase, ...]]:
        """Return the trials to run, and the cases to leave out.

        Raises:
            ProjectError: the baseline is of another prompt or model, or no case is left.
        """
        suite, prompt, model = group
        hint = writing_hint(suite, self._name)
        if not trials:
            what = f"the baseline `{self._name}` is of `{prompt}` on `{model}`, on which `{suite}` has no case"
            raise ProjectError(what, place=Place(file=suite), hint=hint)
        kept: list[PlannedTrial] = []
        left_out: list[LeftOutCase] = []
        is_unknown = False
        for case, result in results.items():
            reason: str | None = "no longer in the suite"
            if case in trials:
                reason = self._changed(group, result, trials[case][0])
                is_unknown |= result.identity.case_hash is None
            if reason is None:
                kept += trials[case]
            else:
                left_out.append(LeftOutCase(case=case, reason=reason))
        if not kept:
            reasons = Counter(item.reason for item in left_out)
            counts = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
            what = f"no case of the baseline `{self._name}` can be compared on `{model}`: {counts}"
            raise ProjectError(what, place=Place(file=suite), hint=hint)
        if is_unknown:
            self.warnings.append(
                f"`{self._name}` does not say what was asked: cases, prompts and models that changed since are not "
                "noticed; write it again"
            )
            self.warnings = list(dict.fromkeys(self.warnings))
        return kept, tuple(left_out)

    def _changed(self, group: GroupKey, result: CaseResult, planned: PlannedTrial) -> str | None:
        """Return why a case cannot be compared; None if it can.

        Raises:
            ProjectError: the prompt or the model is another one.
        """
        suite, prompt, model = group
        if (suite, result.case) in self._quarantine:
            return "in quarantine"
        before, prepared = result.identity, self._preparer.prepare_trial(planned)
        now = prepared.request.endpoint.model
        hint = writing_hint(suite, self._name)
        if before.called_model is not None and planned.target.endpoint_model and now != before.called_model:
            what = f"the baseline `{self._name}` is of {before.called_model}, and `{model}` is now {now}"
            raise ProjectError(what, hint=f"that is a change of yours, not drift; {hint}")
        if before.prompt_hash is not None and not prepared.prompt_hash.startswith(before.prompt_hash):
            what = f"the prompt `{prompt}` has changed since the baseline `{self._name}`"
            raise ProjectError(what, hint=f"that is a change of yours, not drift; {hint}")
        if before.case_hash is not None and case_hash(planned.case) != before.case_hash:
            return "variables or assertions changed"
        asked = request_hash(prepared)
        return (
            "parameters changed" if None not in (asked, before.request_hash) and asked != before.request_hash else None
        )
