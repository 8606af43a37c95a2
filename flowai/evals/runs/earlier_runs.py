"""Compares a run with the last one on the same target and with the suites' baseline prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from flowai.evals.reports import changes_between, earlier_trials
from flowai.evals.runs.eval_run import last_finished
from flowai.evals.runs.run_log import past_runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.evals.reports import Changes, EarlierTrial, Trial
    from flowai.evals.runs.eval_options import EvalOptions
    from flowai.evals.runs.eval_run import EvalRun
    from flowai.evals.runs.plan import RunPlan
    from flowai.workspace.workspace import Workspace

MAX_EARLIER_TRIALS = 20_000
"""The report of a larger run has no earlier answers."""


class EarlierComparison(NamedTuple):
    """Differences from earlier runs."""

    changes: Changes | None
    against_baseline: tuple[Changes, ...]
    earlier: tuple[EarlierTrial, ...]
    warnings: tuple[str, ...]


def compare_with_earlier(
    workspace: Workspace, plan: RunPlan, run: EvalRun, trials: Sequence[Trial], options: EvalOptions
) -> EarlierComparison:
    """Compare the trials of a run with those of earlier ones."""
    keeps_earlier = len(trials) <= MAX_EARLIER_TRIALS
    earlier: dict[str, EarlierTrial] = {}
    against_baseline: list[Changes] = []
    warnings: list[str] = []
    for baseline in dict.fromkeys(suite.baseline for suite in plan.suites if suite.baseline):
        keys = _baseline_keys(plan, baseline)
        if not keys:
            continue
        source = _last_run_with(workspace, run, frozenset(keys.values()))
        if source is None:
            warnings.append(f"the baseline `{baseline}` was never run; `flowai eval {baseline}` runs it")
            continue
        run_id, tried = source
        before = {key: tried[other] for key, other in keys.items() if other in tried}
        compared = changes_between(run_id, before, trials, baseline=baseline)
        if compared is not None:
            against_baseline.append(compared)
        if keeps_earlier:
            earlier |= {item.key: item for item in earlier_trials(run_id, before, trials, baseline=baseline)}
    changes: Changes | None = None
    last = None if options.calls_no_model else last_finished(workspace, options, before=run.run_id)
    if last is not None:
        changes = changes_between(last.run_id, last.trials, trials)
        if keeps_earlier:
            rest = [trial for trial in trials if trial.key not in earlier]
            earlier |= {item.key: item for item in earlier_trials(last.run_id, last.trials, rest)}
    return EarlierComparison(changes, tuple(against_baseline), tuple(earlier.values()), tuple(warnings))


def _baseline_keys(plan: RunPlan, baseline: str) -> dict[str, str]:
    """Return the key of the baseline's trial for each trial that is compared with it."""
    return {
        trial.key: replace(trial, target=replace(trial.target, prompt=baseline)).key
        for trial in plan
        if trial.suite.baseline == baseline and trial.target.prompt != baseline
    }


def _last_run_with(workspace: Workspace, run: EvalRun, keys: frozenset[str]) -> tuple[str, Mapping[str, Trial]] | None:
    """Return this run if it tried one of the keys, else the newest run that did."""
    if any(key in run.trials for key in keys):
        return run.run_id, run.trials
    for past in past_runs(workspace.project.runs, lambda _: True):
        if any(key in past.trials for key in keys):
            return past.run_id, past.trials
    return None
