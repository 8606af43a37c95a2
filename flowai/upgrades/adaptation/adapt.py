"""Rewrites a feature's prompt for the new model: half of the cases train, the other half decides."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import PromptError
from flowai.evals.gates.stopping import early_order
from flowai.prompts.draft import next_version, template_of, with_template
from flowai.rendering.markdown import one_line
from flowai.upgrades.adaptation.writer import TemplateWriter
from flowai.upgrades.evidence import failure_reason
from flowai.upgrades.feature_upgrade import Findings, SuiteTask, make_run, run_plan, run_suites

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.evals.gates.records import CaseKey
    from flowai.evals.reports import Trial
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.evals.runs.trials import Observer
    from flowai.upgrades.options import UpgradeOptions
    from flowai.upgrades.records import Evidence
    from flowai.upgrades.spending import Spending

MAX_ROUNDS = 2
MAX_FAILURES = 6
MAX_TRAINING_CASES = 40
MAX_SHOWN_CHARS = 800
UNCHANGED = "with the prompt as it is; the prompt written for the new model decides"


@dataclass(frozen=True, kw_only=True, slots=True)
class Adaptation:
    """Result of an adaptation."""

    stages: tuple[Findings, ...]
    """The findings with the old prompt, and those of the held-out cases."""
    prompt: str | None = None
    """Id of the new prompt; None if none was better on the training cases."""
    text: str = ""
    """Its file."""


def adapt_prompt(
    task: SuiteTask, found: Findings, options: UpgradeOptions, spending: Spending, observer: Observer, *, alpha: float
) -> Adaptation:
    """Let a model rewrite a prompt; the new one must be better on training cases before the held-out ones are run.

    Args:
        task: the planned suites.
        found: findings with the old prompt.
        options: options of the command.
        spending: cost so far.
        observer: receives the progress.
        alpha: chance of a false verdict of each kind on the held-out cases.

    Raises:
        InfrastructureError: a model is unreachable.
        InterruptedRunError: the user interrupted it; answers are kept.
    """
    library, pair = task.workspace.library, task.pair
    source = library.load(pair.old.prompt)
    text = source.path.read_text(encoding="utf-8")
    keys = set([key for key in task.case_counts if is_training(key)][:MAX_TRAINING_CASES])
    own = _train(task, pair.new.prompt, keys, options, spending, observer)
    failures = [trial for trial in own if trial.outcome == "fail"]
    if not failures:
        return _unchanged(found, "no training case fails, so the prompt is not rewritten")
    writer = TemplateWriter(workspace=task.workspace, model=str(options.adapts), spending=spending)
    problem: str | None = None
    for _ in range(MAX_ROUNDS):
        template = writer.rewrite(template_of(text), [_failure(trial) for trial in failures[:MAX_FAILURES]], problem)
        if template is None:
            return _unchanged(found, f"`{options.adapts}` wrote no template")
        draft_text = with_template(text, template)
        written = library.find(draft_text)  # an earlier command wrote it
        prompt_id = written or next_version(pair.old.prompt, library.ids())
        try:
            draft = library.load(prompt_id) if written is not None else library.add_draft(prompt_id, draft_text)
        except PromptError as error:
            problem = error.what
            continue
        lost = _lost_names(template_of(text), template, draft.variables)
        if lost:
            problem = f"it lost {', '.join(lost)}"
            continue
        trained = _train(task, prompt_id, keys, options, spending, observer)
        if _pass_count(trained) > _pass_count(own):
            adapted = replace(task, pair=replace(pair, new=replace(pair.new, prompt=prompt_id)))
            held_out = {key for key in task.case_counts if not is_training(key)}
            adapted = replace(adapted, plan=tuple(_planned(adapted, prompt_id, held_out)))
            decided = run_suites(adapted, options, spending, observer, alpha=alpha, name="held-out cases")
            before = replace(found, evidence=tuple(_not_judged(found)), slices=(), trials=())
            return Adaptation(stages=(before, decided), prompt=prompt_id, text=draft_text)
        failures = [trial for trial in trained if trial.outcome == "fail"] or failures
        problem = f"it passes {_pass_count(trained)} of {len(trained)} training cases, the old one {_pass_count(own)}"
    return _unchanged(found, f"no template of `{options.adapts}` is better on the training cases: {problem}")


def is_training(key: CaseKey) -> bool:
    """Return whether a case may be shown to the writing model; the others decide. A hash of its name divides them."""
    return int(early_order(key)[-1], 16) % 2 == 0


def _train(
    task: SuiteTask,
    prompt_id: str,
    keys: set[CaseKey],
    options: UpgradeOptions,
    spending: Spending,
    observer: Observer,
) -> list[Trial]:
    """Return the trials of training cases on the new model with a prompt."""
    plan = [trial for trial in _planned(task, prompt_id, keys) if trial.target.model == task.pair.new.model]
    run = make_run(task.workspace, f"{task.pair.feature}-training", plan, options, spending, observer)
    return run_plan(run, None, spending).finished()


def _lost_names(before: str, after: str, names: Sequence[str]) -> list[str]:
    """Return the variables that a template used and the new one does not."""
    return [name for name in names if re.search(rf"\b{re.escape(name)}\b", before) and name not in after]


def _planned(task: SuiteTask, prompt_id: str, keys: set[CaseKey]) -> Iterator[PlannedTrial]:
    """Yield the trials of some cases, those of the new model with the new prompt."""
    for trial in task.plan:
        if (trial.suite.path, trial.case.id) in keys:
            is_new = trial.target.model == task.pair.new.model
            yield replace(trial, target=replace(trial.target, prompt=prompt_id)) if is_new else trial


def _failure(trial: Trial) -> str:
    shown = [
        f"Input: {one_line(trial.input_text, MAX_SHOWN_CHARS)}",
        f"Answer: {one_line(trial.output or '-', MAX_SHOWN_CHARS)}",
    ]
    return "\n".join([*shown, f"Wrong because: {failure_reason(trial)}"])


def _pass_count(trials: Sequence[Trial]) -> int:
    return sum(trial.outcome == "pass" for trial in trials)


def _not_judged(found: Findings) -> Iterator[Evidence]:
    for item in found.evidence:
        yield msgspec.structs.replace(item, judged=False, note=UNCHANGED)


def _unchanged(found: Findings, note: str) -> Adaptation:
    return Adaptation(stages=(replace(found, notes=(*found.notes, note)),))
