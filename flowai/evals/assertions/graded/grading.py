"""Calls a grader: prompt, reply, and the errors that leave an assertion unjudged."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flowai.errors import BudgetError, CallError, PromptError
from flowai.evals.assertions.graded.judge_prompts import JudgePrompts
from flowai.evals.assertions.graded.jury import Jury
from flowai.evals.assertions.graded.replies import GraderReplyError
from flowai.evals.assertions.records import AsyncCheck, CheckResult, suite_error
from flowai.evals.assertions.services import CodeError, JudgeRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.evals.assertions.records import Answer
    from flowai.evals.assertions.services import CheckServices, JudgeFeature, ModelCaller
    from flowai.evals.suites.records import Assertion, SuiteProvider
    from flowai.providers.client import ChatMessage

_MAX_REASON_CHARS = 300

RUBRIC_OF = {"llm_rubric": "rubric", "closed_qa": "criterion", "fact_check": "rubric"}
"""The package's prompts that a judge's own prompt replaces, and the variable that is its `rubric`."""

Grade = Callable[["Grading", "Answer"], Awaitable[CheckResult]]
"""Grade an answer; a GraderReplyError, CallError or CodeError leaves it unjudged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grading:
    """A graded assertion with what it needs: prompts, models, code and templates."""

    assertion: Assertion
    models: ModelCaller
    services: CheckServices
    prompts: JudgePrompts = field(default_factory=JudgePrompts)
    juror: str | None = None
    """Model of the judge's jury that is asked; None for its own model, or another grader."""

    def judge(self, answer: Answer) -> JudgeFeature | None:
        """Return the registry's judge if it grades this answer; None if assertion, case or suite name a grader."""
        return self.models.judge if self._grader(answer) is None else None

    async def ask(
        self,
        answer: Answer,
        name: str,
        values: Mapping[str, Any],
        *,
        own_values: Mapping[str, Any] | None = None,
        rubric_key: str | int | None = None,
    ) -> str:
        """Return a grader's reply to one of the package's prompts, or to the suite's own in its place.

        Args:
            answer: the answer to judge; its case may name grader and prompt.
            name: the package's prompt.
            values: its variables.
            own_values: variables of the suite's own prompt, by promptfoo's names; None for the same. The case's
                variables win over them.
            rubric_key: key or index of the prompt in `rubricPrompt` of types that have several.
        """
        template = self._own_template(answer, rubric_key)
        judge = self.judge(answer)
        if judge is not None and template is None and uses_own_prompt(judge, name):
            given = _rubric_values(answer, name, values)
            return (await self.models.ask_judge(JudgeRequest(values=given, juror=self.juror))).text
        schema: Mapping[str, Any] | None = None
        params: Mapping[str, Any] = {}
        if template is None:
            prompt = self.prompts.load(name)
            messages: Sequence[ChatMessage] = self.prompts.messages(name, values)
            params, schema = prompt.config, prompt.output_schema
        else:
            messages = self._render(template, {**(values if own_values is None else own_values), **answer.variables})
        if judge is None:
            completion = await self.models.complete(self._grader(answer), messages, params=params, schema=schema)
        else:
            request = JudgeRequest(messages=tuple(messages), params=params, schema=schema, juror=self.juror)
            completion = await self.models.ask_judge(request)
        return completion.text

    async def similarity(self, answer: Answer, query: str, others: Sequence[str]) -> list[float]:
        """Return the cosine similarity of each text with the query, -1 to 1."""
        embeddings = await self.models.embed(self._embedder(answer), [query, *others])
        first, *rest = embeddings.vectors
        return [cosine(first, vector) for vector in rest]

    async def moderate(self, answer: Answer) -> tuple[str, ...]:
        """Return the categories for which a moderation model flags the answer."""
        return await self.models.moderate(self._grader(answer), answer.text)

    async def context(self, answer: Answer) -> str | list[str]:
        """Return the retrieved text: computed from the answer, or the variable `context`."""
        if self.assertion.context_transform is not None:
            if self.services.code is None:
                raise CodeError("code is switched off")
            value = await self.services.code.call(
                self.assertion.context_transform, [answer.text if answer.output is None else answer.output]
            )
        else:
            value = answer.variables.get("context")
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            return value
        raise GraderReplyError("there is no variable `context` with a text or a list of texts")

    def variable(self, answer: Answer, name: str) -> str:
        """Return a variable that the assertion's type requires."""
        value = answer.variables.get(name)
        if isinstance(value, str) and value.strip():
            return value
        raise GraderReplyError(f"there is no variable `{name}` with a text")

    def _own_template(self, answer: Answer, key: str | int | None) -> Any:  # noqa: ANN401 - a text or messages
        own = self.assertion.rubric_prompt
        if own is None and answer.case is not None:
            own = answer.case.options.rubric_prompt
        if key is None or own is None:
            return own
        if isinstance(key, str):
            return own.get(key) if isinstance(own, dict) else None
        return own[key] if isinstance(own, list) and len(own) > key else None

    def _render(self, template: Any, values: Mapping[str, Any]) -> list[ChatMessage]:  # noqa: ANN401 - as above
        """Render the suite's own prompt; in JSON every text is a template, so that no value can break it."""
        if isinstance(template, str):
            try:
                parsed = json.loads(template)
            except ValueError:
                parsed = None
            template = parsed if isinstance(parsed, list) else template
        rendered = self._render_texts(template, values)
        if isinstance(rendered, list):
            if not all(isinstance(message, dict) and "role" in message for message in rendered):
                raise GraderReplyError("`rubricPrompt` is a list; expected messages with `role` and `content`")
            return rendered
        return [{"role": "user", "content": rendered if isinstance(rendered, str) else json.dumps(rendered)}]

    def _render_texts(self, template: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as above
        if isinstance(template, str):
            if self.services.templates is None:
                raise GraderReplyError("a `rubricPrompt` cannot be rendered here")
            return self.services.templates.render(template, values)
        if isinstance(template, list):
            return [self._render_texts(part, values) for part in template]
        if isinstance(template, dict):
            return {name: self._render_texts(part, values) for name, part in template.items()}
        return template

    def _grader(self, answer: Answer) -> SuiteProvider | None:
        return self.assertion.grader or (answer.case.options.grader if answer.case is not None else None)

    def _embedder(self, answer: Answer) -> SuiteProvider | None:
        return self.assertion.embedder or (answer.case.options.embedder if answer.case is not None else None)


def graded_check(assertion: Assertion, services: CheckServices, grade: Grade) -> AsyncCheck:
    """Build the check of a graded assertion: a grader that fails leaves the answer unjudged."""
    if services.models is None:
        raise suite_error(assertion, "needs a model that grades", hint="`flowai eval` calls one")
    grading = Grading(assertion=assertion, models=services.models, services=services)

    async def grade_once(juror: str | None, answer: Answer) -> CheckResult:
        try:
            return await grade(grading if juror is None else replace(grading, juror=juror), answer)
        except GraderReplyError as error:
            return CheckResult(passed=None, detail=f" could not be judged: {error}")
        except (CallError, CodeError, BudgetError, PromptError) as error:
            return CheckResult(passed=None, detail=f" could not be judged: {short(str(error))}")

    async def check(answer: Answer) -> CheckResult:
        judge = grading.judge(answer)
        if judge is None or judge.combine is None or assertion.type == "moderation":
            return await grade_once(None, answer)
        jury = Jury(judge.jury, judge.combine, threshold=assertion.threshold)
        return await jury.judge(lambda juror: grade_once(juror, answer), turn=case_turn(answer))

    return AsyncCheck(check)


def uses_own_prompt(judge: JudgeFeature, name: str) -> bool:
    """Return whether a judge's own prompt replaces one of the package's; a fact check needs its variable `context`."""
    if name not in RUBRIC_OF or not judge.judges_rubrics:
        return False
    return name != "fact_check" or "context" in judge.prompt.variables


def case_turn(answer: Answer) -> str:
    """Return a text that decides whose turn it is: all answers to a case have the same juror, so that they compare."""
    return answer.case.id if answer.case is not None else f"{answer.prompt}\n{answer.text}"


def _rubric_values(answer: Answer, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of a judge's prompt: the case's, and under their fixed names rubric, answer and request."""
    given = {**answer.variables, "input": answer.prompt, "output": answer.text, "rubric": values[RUBRIC_OF[name]]}
    context = given.get("context", "")
    given["context"] = "\n\n".join(map(str, context)) if isinstance(context, list) else context
    return given


def short(text: str) -> str:
    """Return a reason on one line, clipped."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_REASON_CHARS else f"{line[: _MAX_REASON_CHARS - 3]}..."


def scored(name: str, score: float, threshold: float) -> CheckResult:
    """Return the result of a score that must reach a threshold."""
    return CheckResult(
        passed=score >= threshold - 1e-12, detail=f": {name} {score:.2f}, expected at least {threshold:g}", score=score
    )


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the cosine of the angle between two vectors, -1 to 1; 0 if one of them is zero."""
    norm = math.sqrt(math.fsum(a * a for a in left) * math.fsum(b * b for b in right))
    return math.fsum(a * b for a, b in zip(left, right, strict=True)) / norm if norm else 0.0
