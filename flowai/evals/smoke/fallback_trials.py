"""Trials of the models that only a fallback would call: each has to answer once, whatever it answers.

Quality is judged by `flowai eval`; a last resort may be weaker than the first model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.errors import MissingKeyError, RegistryError
from flowai.evals.runs.plan import Selection, SuiteTarget, TrialTarget, plan_trials
from flowai.evals.suites.records import Assertion
from flowai.registry import binding, features_of, model_chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.evals.runs.plan import PlannedTrial
    from flowai.evals.suites.records import Case
    from flowai.registry import Binding
    from flowai.workspace.workspace import Workspace

CASE_PREFIX = "fallback:"
"""Begin of the case id of such a trial; the model's name follows."""


def plan_fallback_trials(
    workspace: Workspace, suite_targets: Sequence[SuiteTarget], *, pattern: str | None, max_latency_ms: float
) -> tuple[list[PlannedTrial], tuple[str, ...]]:
    """Plan one trial for each model that is in a fallback chain but is no feature's first model.

    It gets a prompt of its feature, or of the suite's first case if the feature has none. The warnings name the models
    whose key is not set here: they may have one where the release serves.
    """
    trials: list[PlannedTrial] = []
    untried: dict[str, list[str]] = {}
    for model, bound in _fallback_models(workspace).items():
        suite_target = next(
            (item for item in suite_targets if item.targets[0].feature == bound.feature), suite_targets[0]
        )
        target = suite_target.targets[0]
        planned = plan_trials(
            [
                SuiteTarget(
                    suite=suite_target.suite,
                    cases=(_fallback_case(suite_target.cases[0], model, max_latency_ms),),
                    targets=(TrialTarget(prompt=target.prompt, model=model, feature=target.feature),),
                )
            ],
            Selection(pattern=pattern, repeats=1),
        )
        if planned and (reason := _missing_key(workspace, model)) is not None:
            untried.setdefault(reason, []).append(f"`{model}`")
        else:
            trials += planned
    return trials, tuple(f"fallback not tried: {', '.join(models)}: {reason}" for reason, models in untried.items())


def is_fallback_trial(case_id: str) -> bool:
    """Return whether a trial is one of a fallback model."""
    return case_id.startswith(CASE_PREFIX)


def _fallback_models(workspace: Workspace) -> dict[str, Binding]:
    """Return the models that only a fallback would call, and the binding of the first feature that has them."""
    models: dict[str, Binding] = {}
    first_models = set()
    for bound in _bindings(workspace):
        first_models.add(bound.model)
        chain = model_chain(workspace.registry, bound)
        for model in (*chain.models, *([chain.degrade] if chain.degrade else [])):
            models.setdefault(model, bound)
    return {model: bound for model, bound in models.items() if model not in first_models}


def _bindings(workspace: Workspace) -> Iterator[Binding]:
    for feature in features_of(workspace.registry, workspace.release):
        yield binding(workspace.registry, workspace.release, feature)


def _fallback_case(case: Case, model: str, max_latency_ms: float) -> Case:
    limit = Assertion(type="latency", threshold=max_latency_ms, place=case.place)
    return msgspec.structs.replace(
        case, id=f"{CASE_PREFIX}{model}", description=f"`{model}` answers", assertions=(limit,), threshold=None
    )


def _missing_key(workspace: Workspace, model: str) -> str | None:
    """Return why a model cannot be called here (`needs the variable ...`); None if its key is set."""
    try:
        workspace.resolve_endpoint(model)
    except MissingKeyError as error:
        return error.what.removeprefix(f"model `{model}` ")
    except RegistryError:  # the trial fails with it
        return None
    return None
