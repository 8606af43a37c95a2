"""Resolves the name of a baseline: the last run, a run, a file, a release or a prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from flowai.errors import InconclusiveError, UsageError
from flowai.evals.gates.baseline_file import DIRECTORY, baseline_path, read_baseline
from flowai.evals.gates.case_results import case_results
from flowai.evals.gates.records import Baseline
from flowai.evals.runs.plan import TrialTarget
from flowai.evals.runs.run_log import past_runs
from flowai.registry import binding, features_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.evals.gates.records import GroupKey
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.evals.runs.run_log import RunStarted
    from flowai.workspace.workspace import Workspace

LAST = "last"


class BaselineSource(NamedTuple):
    """A baseline, and how its prompts are tried in the same run (empty if it is of earlier results)."""

    baseline: Baseline
    targets: dict[GroupKey, TrialTarget]
    """Baseline's target by suite, prompt and model of the candidate."""


def resolve_baseline(workspace: Workspace, name: str, planned: Sequence[PlannedTrial], target: str) -> BaselineSource:
    """Resolve a baseline's name for a run's planned trials.

    Raises:
        InconclusiveError: there is no earlier run with its results.
        UsageError: it is neither a run, a file, a release nor a prompt.
    """
    file = None if "/" in name else baseline_path(workspace.project.evals, name)
    if name.endswith(".jsonl"):
        path = workspace.project.inside(name) if "/" in name else baseline_path(workspace.project.evals, name)
        return BaselineSource(baseline=read_baseline(path, name=workspace.project.show(path)), targets={})
    if file is not None and file.is_file():
        return BaselineSource(baseline=read_baseline(file, name=workspace.project.show(file)), targets={})
    if name == LAST:
        return _of_run(workspace, lambda started: started.target == target, "no earlier run on this target")
    if name.isdecimal():
        return _of_run(workspace, lambda started: started.run_id == name, f"no run {name}")
    if name in workspace.registry.releases:
        return _of_targets(workspace, name, planned, {})
    prompt = name.removesuffix(".prompt")
    if prompt in workspace.library.ids():
        return _of_targets(workspace, prompt, planned, dict.fromkeys({trial.suite.path for trial in planned}, prompt))
    raise UsageError(
        f"`{name}` is no baseline: neither `last`, a run, a release, a prompt nor a file",
        hint=f"files are in evals/{DIRECTORY}/; `flowai eval --write-baseline NAME` writes them",
    )


def earlier_results(workspace: Workspace, source: BaselineSource) -> Baseline:
    """Return the newest earlier results of a baseline's prompts.

    Raises:
        InconclusiveError: they were never run.
    """
    baseline_groups = {(suite, item.prompt, item.model) for (suite, _, _), item in source.targets.items()}
    for past in past_runs(workspace.project.runs, lambda _: True):
        found = [item for item in case_results(past.trials.values()) if item.group in baseline_groups]
        if found:
            return replace(source.baseline, name=f"{source.baseline.name} in run {past.run_id}", results=tuple(found))
    raise InconclusiveError(
        f"the baseline {source.baseline.name} was never run", hint="--ab runs it together with the candidate"
    )


def _of_run(workspace: Workspace, is_match: Callable[[RunStarted], bool], problem: str) -> BaselineSource:
    for past in past_runs(workspace.project.runs, is_match):
        if past.finished:
            results = tuple(case_results(past.trials.values()))
            return BaselineSource(baseline=Baseline(name=f"run {past.run_id}", results=results), targets={})
    raise InconclusiveError(f"{problem} is finished", hint="`flowai eval` without --baseline makes one")


def _of_targets(
    workspace: Workspace, name: str, planned: Sequence[PlannedTrial], prompts: dict[str, str]
) -> BaselineSource:
    """Pair every candidate with the release's binding, or with the prompt on the same model."""
    targets: dict[GroupKey, TrialTarget] = {}
    for trial in planned:
        candidate = trial.target
        key = (trial.suite.path, candidate.prompt, candidate.model)
        if key in targets:
            continue
        if prompts:
            before = replace(candidate, prompt=prompts[trial.suite.path])
        elif candidate.feature in features_of(workspace.registry, name):
            bound = binding(workspace.registry, name, str(candidate.feature))
            before = TrialTarget(prompt=bound.prompt, model=bound.model, feature=bound.feature, params=bound.params)
        else:
            continue
        targets[key] = before
    replaces = {key: (before.prompt, before.model) for key, before in targets.items()}
    return BaselineSource(baseline=Baseline(name=f"`{name}`", results=(), replaces=replaces), targets=targets)
