"""Identity of a judge: a hash of all that determines its verdicts, so that another judge is never taken for it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from flowai.evals.assertions.graded import (
    FACT_CHECK_NAME,
    FACT_CHECK_PROMPT,
    FACT_CHECK_RUBRIC,
    GRADED_BUILDERS,
    JudgePrompts,
    uses_own_prompt,
)
from flowai.evals.assertions.graded.fact_rules import RULES_VERSION
from flowai.evals.execution.endpoints import endpoint_as_written
from flowai.evals.judges.default_grader import chosen_grader, default_grader
from flowai.evals.judges.feature_judge import judge_feature
from flowai.evals.judges.pairwise import PREFERENCE_NAME, pairwise_prompt
from flowai.evals.suites.records import iterate_assertions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.evals.assertions.services import JudgeFeature
    from flowai.evals.suites.records import Assertion, Case, Suite, SuiteProvider
    from flowai.workspace.workspace import Workspace

HASH_DIGITS = 16
_FACT_CHECK = f"{FACT_CHECK_RUBRIC} Rules: {RULES_VERSION}"
PROMPTS_OF = {
    "llm-rubric": ("llm_rubric",),
    "factuality": ("factuality",),
    "model-graded-factuality": ("factuality",),
    "model-graded-closedqa": ("closed_qa",),
    "g-eval": ("g_eval_steps", "g_eval"),
    "conversation-relevance": ("conversation_relevance",),
    "answer-relevance": ("answer_question",),
    "context-recall": ("context_recall",),
    "context-relevance": ("context_relevance",),
    "context-faithfulness": ("faithfulness_statements", "faithfulness_verdicts"),
}
"""The package's prompts by type of assertion."""


class JudgeIdentity(Struct, frozen=True, kw_only=True):
    """A judge of one property."""

    name: str
    """Judged property: `hallucination`, or the assertion's type and metric."""
    judge: str
    """Feature and models, for people."""
    judge_hash: str
    rubric_hash: str = ""
    """Tells properties of the same name apart; empty if the name says it all, or each case has a rubric of its own."""


def judge_hash(
    *, prompts: Iterable[str], models: Iterable[tuple[str, Mapping[str, Any]]], combine: str | None, rubric: str
) -> str:
    """Return the hash of a judge.

    Args:
        prompts: hashes of its prompts.
        models: LiteLLM's name and sampling parameters of each model, in order.
        combine: of its jury; None without one.
        rubric: the rubric, or the judged property where each case has its own.
    """
    identity = {
        "prompts": sorted(prompts),
        "models": [[model, dict(params)] for model, params in models],
        "combine": combine,
        "rubric": rubric,
    }
    return _hash(json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str))


def property_name(assertion: Assertion) -> str:
    """Return the name of what an assertion judges: its type, and its metric if it has one."""
    return f"{assertion.spelling}: {assertion.metric}" if assertion.metric else assertion.spelling


def graded_assertions(case: Case) -> list[Assertion]:
    """Return the assertions of a case that a model grades; moderation is a service of its own."""
    return [
        assertion
        for assertion in iterate_assertions(case.assertions)
        if assertion.type in GRADED_BUILDERS and assertion.type != "moderation"
    ]


def suite_judges(workspace: Workspace, suite: Suite) -> tuple[JudgeIdentity, ...]:
    """Return the judges of a suite's graded assertions, one per judged property, in order.

    The rubric is part of the identity if all cases share it; rubrics that differ by case are data.

    Raises:
        SuiteError: an assertion has no grader.
        PromptError: the prompt of the registry's judge is wrong.
    """
    groups: dict[str, list[tuple[Case, Assertion]]] = {}
    for case in suite.cases:
        for assertion in graded_assertions(case):
            groups.setdefault(property_name(assertion), []).append((case, assertion))
    registered = None if suite.grader is not None else judge_feature(workspace)
    return tuple(_identity(workspace, suite, registered, name, group) for name, group in groups.items())


def fact_check_judge(workspace: Workspace, suite: Suite | None = None) -> JudgeIdentity:
    """Return the judge that checks answers against their context: the registry's, or the default grader.

    Raises:
        SuiteError: there is neither.
        PromptError: the prompt of the registry's judge is wrong.
    """
    grader = None if suite is None else suite.grader
    judge = judge_feature(workspace) if grader is None else None
    prompt = JudgePrompts().load(FACT_CHECK_PROMPT)
    if judge is not None:
        own = uses_own_prompt(judge, FACT_CHECK_PROMPT)
        return JudgeIdentity(
            name=FACT_CHECK_NAME,
            judge=shown_judge(judge),
            judge_hash=judge_hash(
                prompts=[judge.prompt.hash if own else prompt.hash],
                models=_feature_models(workspace, judge),
                combine=judge.combine,
                rubric=_FACT_CHECK,
            ),
        )
    chosen = chosen_grader(grader, default_grader(workspace.registry, workspace.release, workspace.environ))
    return JudgeIdentity(
        name=FACT_CHECK_NAME,
        judge=chosen.name,
        judge_hash=judge_hash(
            prompts=[prompt.hash], models=[_grader_model(workspace, chosen)], combine=None, rubric=_FACT_CHECK
        ),
    )


def preference_judge(workspace: Workspace, model: str) -> JudgeIdentity:
    """Return the judge that compares two answers: a model with the package's prompt."""
    prompt = pairwise_prompt()
    return JudgeIdentity(
        name=PREFERENCE_NAME,
        judge=model,
        judge_hash=judge_hash(
            prompts=[prompt.hash],
            models=[(workspace.with_models((model,)).endpoint(model).model, prompt.config)],
            combine=None,
            rubric=PREFERENCE_NAME,
        ),
    )


def shown_judge(judge: JudgeFeature) -> str:
    """Return the feature and its models, for people."""
    return (
        f"{judge.name} ({judge.model})"
        if judge.combine is None
        else f"{judge.name} ({judge.combine} of {', '.join(judge.jury)})"
    )


def _identity(
    workspace: Workspace,
    suite: Suite,
    registered: JudgeFeature | None,
    name: str,
    group: list[tuple[Case, Assertion]],
) -> JudgeIdentity:
    prompts: set[str] = set()
    models: dict[str, tuple[str, Mapping[str, Any]]] = {}
    labels: dict[str, None] = {}
    combine = None
    package = JudgePrompts()
    for case, assertion in group:
        template = assertion.rubric_prompt if assertion.rubric_prompt is not None else case.options.rubric_prompt
        grader = assertion.grader or case.options.grader or suite.grader
        judge = registered if grader is None else None
        if template is not None:
            text = json.dumps(template, sort_keys=True, ensure_ascii=False)
            prompts.add(hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest())
        elif judge is not None and all(uses_own_prompt(judge, prompt) for prompt in PROMPTS_OF[assertion.type]):
            prompts.add(judge.prompt.hash)
        else:
            prompts.update(package.load(prompt).hash for prompt in PROMPTS_OF[assertion.type])
        if judge is not None:
            combine = judge.combine
            labels[shown_judge(judge)] = None
            models.update((model, (model, params)) for model, params in _feature_models(workspace, judge))
            continue
        chosen = chosen_grader(grader, default_grader(workspace.registry, workspace.release, workspace.environ))
        labels[chosen.name] = None
        models[chosen.name] = _grader_model(workspace, chosen)
    values = {json.dumps([assertion.value, assertion.threshold], sort_keys=True, default=str) for _, assertion in group}
    rubric = values.pop() if len(values) == 1 else ""
    return JudgeIdentity(
        name=name,
        judge=", ".join(labels),
        judge_hash=judge_hash(
            prompts=prompts,
            models=models.values(),
            combine=combine,
            rubric=f"{name}: {rubric}" if rubric else name,
        ),
        rubric_hash=_hash(rubric) if rubric else "",
    )


def _feature_models(workspace: Workspace, judge: JudgeFeature) -> list[tuple[str, Mapping[str, Any]]]:
    return [(workspace.endpoint(model).model, judge.params) for model in judge.jury or (judge.model,)]


def _grader_model(workspace: Workspace, grader: SuiteProvider) -> tuple[str, Mapping[str, Any]]:
    return endpoint_as_written(workspace, grader).model, grader.params


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:HASH_DIGITS]
