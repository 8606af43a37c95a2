"""Steps of a trial that must be awaited: hooks, late prompts, transforms, checks and the case's own scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from flowai.evals.assertions.scoring import Score
from flowai.evals.assertions.services import CodeError
from flowai.evals.execution.transforms import output_of, recorded_completion, transform_answer
from flowai.evals.reports import AssertionResult
from flowai.evals.runs.answers.case_state import CaseState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flowai.evals.code.hooks import Hook
    from flowai.evals.execution.services import RunServices
    from flowai.evals.reports import Failure, Trial
    from flowai.evals.runs.answers.judging import Judge
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.evals.runs.prepared import TrialPreparer
    from flowai.evals.runs.records import PreparedTrial
    from flowai.evals.suites.records import Suite
    from flowai.providers import Completion

_SCORING_TYPE = "assertScoringFunction"
_SCORING_FUNCTION = "get_score"
MAX_HOOK_RESULTS = 10_000
"""Results that `afterAll` gets; of a larger run it gets none."""


class Judgement(NamedTuple):
    """Answer of a trial after its transforms, and its score."""

    completion: Completion
    score: Score
    metrics: dict[str, float]
    """Named scores of hooks and of the case's scoring."""


class TrialSteps:
    """Steps of the trials of a run.

    Args:
        preparer: builds late requests.
        services: run code and models.
        judge: applies the checks.
        redact: removes secrets from reasons.
    """

    def __init__(
        self, preparer: TrialPreparer, services: RunServices, judge: Judge, redact: Callable[[str], str]
    ) -> None:
        self._preparer = preparer
        self._services = services
        self._judge = judge
        self._redact = redact
        self._state = CaseState()
        self.warnings: list[str] = []

    def restore(self, planned: PlannedTrial, trial: Trial) -> None:
        """Keep the answer of a trial that a resumed run has already, for later cases."""
        self._state.restore(planned, trial)

    async def prepare(self, prepared: PreparedTrial) -> PreparedTrial:
        """Build the request of a trial that needs code or earlier answers.

        Raises:
            CodeError: code failed.
            ProjectError: the prompt or an assertion is wrong.
        """
        if not prepared.is_late:
            return prepared
        planned = prepared.planned
        variables = self._state.variables(planned)
        if planned.suite.extensions:
            test = {
                "vars": variables,
                "description": planned.case.description,
                "metadata": planned.case.metadata,
                "options": {},
            }
            changed = await self._run_hooks(planned.suite, "beforeEach", {"test": test})
            own = changed.get("test", test)
            variables = own["vars"] if isinstance(own.get("vars"), dict) else variables
            if isinstance(own.get("metadata"), dict) and own["metadata"] != planned.case.metadata:
                case = msgspec.structs.replace(planned.case, metadata=own["metadata"])
                prepared = _with_case(prepared, case)
        return await self._preparer.prepare_late(prepared, variables)

    def recorded(self, prepared: PreparedTrial) -> Completion | Failure | None:
        """Return the answer that the run or the case brings along; None if a model must be called."""
        if prepared.recorded is not None:
            return prepared.recorded
        output = prepared.planned.case.recorded_output
        if output is None:
            return None
        endpoint = prepared.request.endpoint
        return recorded_completion(output, model=endpoint.model, provider=endpoint.provider)

    async def finish(self, prepared: PreparedTrial, completion: Completion, *, is_cached: bool) -> Judgement:
        """Transform and judge an answer; code that fails leaves it unscored."""
        planned = prepared.planned
        case, suite = planned.case, planned.suite
        answer = completion
        try:
            if prepared.transforms:
                context = {"vars": prepared.variables, "prompt": _prompt_of(prepared)}
                runner = self._services.code_of(suite)
                answer = await transform_answer(completion, prepared.transforms, runner, context)
        except CodeError as error:
            score = _unscored("transform", self._redact(f"transform: {error}"), case.place)
            return Judgement(completion, score, {})
        if prepared.is_serial:
            self._state.note(prepared, output_of(answer))
        score = await self._judge.judge_async(prepared, answer, is_cached=is_cached)
        metrics: dict[str, float] = {}
        if case.scoring is not None:
            score = await self._score_by_code(prepared, score)
        if suite.extensions:
            metrics = await self._after_each(prepared, answer, score)
        return Judgement(answer, score, metrics)

    async def before_all(self, suites: Iterable[Suite]) -> None:
        """Run the hooks before any case.

        Raises:
            CodeError: one failed.
        """
        for suite in suites:
            if suite.extensions:
                await self._run_hooks(suite, "beforeAll", {"suite": _suite_facts(suite)})

    async def after_all(self, suites: Iterable[Suite], results: Callable[[Suite], list[dict[str, Any]]]) -> None:
        """Run the hooks after all cases; one that fails is a warning."""
        for suite in suites:
            if not suite.extensions:
                continue
            try:
                context = {"suite": _suite_facts(suite), "results": results(suite)}
                await self._run_hooks(suite, "afterAll", context)
            except CodeError as error:
                self.warnings.append(f"hook `afterAll` of {suite.path}: {self._redact(str(error))}")

    async def _run_hooks(self, suite: Suite, hook: Hook, context: dict[str, Any]) -> dict[str, Any]:
        from flowai.evals.code.hooks import run_hooks  # not needed without hooks

        runner = self._services.own_runner(suite)
        if runner is None:
            return context
        return await run_hooks(runner, suite.extensions, hook, context)

    async def _after_each(self, prepared: PreparedTrial, completion: Completion, score: Score) -> dict[str, float]:
        planned = prepared.planned
        result: dict[str, Any] = {
            "success": score.outcome == "pass",
            "score": score.score,
            "namedScores": {check.metric: check.score for check in score.checks if check.metric is not None},
            "response": {"output": output_of(completion)},
            "vars": prepared.variables,
            "metadata": planned.case.metadata,
            "latencyMs": completion.latency_ms,
            "cost": completion.cost_usd,
        }
        test = {"vars": prepared.variables, "description": planned.case.description, "metadata": planned.case.metadata}
        try:
            context = await self._run_hooks(planned.suite, "afterEach", {"test": test, "result": result})
        except CodeError as error:
            self.warnings.append(f"hook `afterEach` of {planned.suite.path}: {self._redact(str(error))}")
            return {}
        named = context.get("result", {}).get("namedScores", {})
        return {
            name: float(value)
            for name, value in named.items()
            if isinstance(value, int | float) and value != result["namedScores"].get(name)
        }

    async def _score_by_code(self, prepared: PreparedTrial, score: Score) -> Score:
        """Let the case's own code combine the results of its checks."""
        case = prepared.planned.case
        code, runner = case.scoring, self._services.code_of(prepared.planned.suite)
        assert code is not None  # noqa: S101 - asked for above
        if code.language == "python" and code.function is None:
            code = msgspec.structs.replace(code, function=_SCORING_FUNCTION)
        named: dict[str, float] = {}
        for check in score.checks:
            if check.metric is not None:
                named[check.metric] = named.get(check.metric, 0.0) + check.score
        context = {
            "threshold": case.threshold,
            "componentResults": [
                {"pass": check.passed, "score": check.score, "reason": check.reason} for check in score.checks
            ],
        }
        problem, value = "no code may run (--no-code)", None
        if runner is not None:
            try:
                value, problem = await runner.call(code, [named, context]), "returned no object with `pass` and `score`"
            except CodeError as error:
                problem = str(error)
        if not isinstance(value, dict) or not isinstance(value.get("score"), int | float):
            reason = self._redact(f"{_SCORING_TYPE}: {problem}")
            added = _result(_SCORING_TYPE, passed=None, reason=reason, place=code.place)
            return Score("unscored", None, (*score.checks, added))
        passed = bool(value.get("pass", value["score"] >= (case.threshold or 0.0)))
        reason = self._redact(f"{_SCORING_TYPE}: {value.get('reason') or 'not passed'}")
        added = _result(_SCORING_TYPE, passed=passed, reason="" if passed else reason, place=code.place)
        own_score = min(1.0, max(0.0, float(value["score"])))
        return Score("pass" if passed else "fail", own_score, (*score.checks, added))


def _result(name: str, *, passed: bool | None, reason: str, place: str) -> AssertionResult:
    return AssertionResult(
        type=name, passed=passed, score=float(passed is True), weight=0.0 if passed is not None else 1.0, reason=reason,
        place=place,
    )  # fmt: skip


def _unscored(name: str, reason: str, place: str) -> Score:
    return Score("unscored", None, (_result(name, passed=None, reason=reason, place=place),))


def _with_case(prepared: PreparedTrial, case: Any) -> PreparedTrial:  # noqa: ANN401 - Case
    from dataclasses import replace

    return replace(prepared, planned=replace(prepared.planned, case=case))


def _prompt_of(prepared: PreparedTrial) -> dict[str, str]:
    source = prepared.planned.target.source
    label = prepared.planned.target.prompt if source is None else source.label
    return {"label": label, "raw": prepared.prompt_text}


def _suite_facts(suite: Suite) -> dict[str, Any]:
    """Return what hooks see of a suite; of a large one without its cases."""
    cases = suite.cases if len(suite.cases) <= MAX_HOOK_RESULTS else ()
    return {
        "description": suite.description,
        "prompts": [
            {"id": prompt.id, "label": prompt.label, "raw": prompt.template} for prompt in suite.prompt_sources
        ],
        "providers": [{"id": target.id, "label": target.name} for target in suite.targets],
        "tests": [{"vars": case.vars, "description": case.description, "metadata": case.metadata} for case in cases],
    }
