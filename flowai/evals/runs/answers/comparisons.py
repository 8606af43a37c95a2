"""Compares the answers of a case by every prompt and target (`select-best`, `max-score`), after all were given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.evals.assertions import Answer
from flowai.evals.assertions.comparison import compile_comparisons
from flowai.evals.assertions.scoring import Score
from flowai.evals.runs.records import has_comparison
from flowai.evals.suites.assertion_types import COMPARISON_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flowai.evals.assertions import CheckServices
    from flowai.evals.reports import AssertionResult, Trial
    from flowai.evals.runs.plan import RunPlan
    from flowai.evals.suites.records import Case, Suite


async def compare_answers(
    plan: RunPlan,
    logged: Mapping[str, Trial],
    update: Callable[[Trial], None],
    services: Callable[[Suite], CheckServices],
    redact: Callable[[str], str],
) -> None:
    """Compare the answers of each case and repeat that were not compared yet, and update their trials.

    A case whose answer is missing somewhere is compared without it.

    Args:
        plan: the trials.
        logged: the finished trials by key.
        update: replaces a finished trial.
        services: returns what the checks of a suite may call.
        redact: removes secrets from reasons.
    """
    groups: dict[tuple[str, str, int], tuple[Suite, Case, list[str]]] = {}
    for planned in plan:
        if has_comparison(planned.case):
            group = (planned.suite.path, planned.case.id, planned.repeat)
            groups.setdefault(group, (planned.suite, planned.case, []))[2].append(planned.key)
    for suite, case, keys in groups.values():
        trials = [trial for key in keys if (trial := logged.get(key)) is not None and trial.output is not None]
        if trials and not all(map(_is_compared, trials)):
            for trial in await _compare(case, trials, services(suite), redact):
                update(trial)


async def _compare(
    case: Case, trials: Sequence[Trial], services: CheckServices, redact: Callable[[str], str]
) -> list[Trial]:
    """Return the trials with the results of the comparisons."""
    answers = [_answer(case, trial) for trial in trials]
    scores = [Score(trial.outcome, trial.score, _own_checks(trial)) for trial in trials]
    for comparison in compile_comparisons(case, services):
        scores = await comparison.compare(answers, scores)
    compared = []
    for trial, score in zip(trials, scores, strict=True):
        checks = tuple([msgspec.structs.replace(check, reason=redact(check.reason)) for check in score.checks])
        compared.append(msgspec.structs.replace(trial, outcome=score.outcome, score=score.score, checks=checks))
    return compared


def _own_checks(trial: Trial) -> tuple[AssertionResult, ...]:
    return tuple([check for check in trial.checks if check.type not in COMPARISON_TYPES])


def _is_compared(trial: Trial) -> bool:
    return any(check.type in COMPARISON_TYPES for check in trial.checks)


def _answer(case: Case, trial: Trial) -> Answer:
    return Answer(
        text=trial.output or "",
        latency_ms=trial.latency_ms,
        cost_usd=trial.cost_usd,
        finish_reason=trial.finish_reason,
        variables=case.vars,
        prompt=trial.prompt_text or "",
        provider=trial.model,
        case=case,
    )
