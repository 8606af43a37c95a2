"""Asks a judge about labelled answers or labelled pairs, within a budget; a stopped measurement can be continued."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from flowai.evals.judge_identity import graded_assertions, property_name
from flowai.evals.judge_runs.asking import JudgeSession, Verdict, in_parallel
from flowai.evals.judge_runs.kept_verdicts import VerdictLog, verdict_digest
from flowai.evals.judge_runs.measures import Judged, JudgedPair
from flowai.evals.suites.records import Assertion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from flowai.evals.judge_identity import JudgeIdentity
    from flowai.evals.judge_runs.answers import LabelledAnswer
    from flowai.evals.judge_runs.costs import VerdictBudget, VerdictCosts
    from flowai.evals.judge_runs.labelled_pairs import LabelledPair
    from flowai.evals.suites.records import Suite, SuiteProvider
    from flowai.workspace.workspace import Workspace

MAX_REPEATED_ANSWERS = 50
"""Answers that are asked about several times."""
PAIR_CRITERION = "The answer is correct, and nothing in it is unsupported."
_TIE = 0.5

Work = list["Callable[[], Awaitable[None]]"]


class Recordings(NamedTuple):
    """Files of recorded replies of models."""

    replay: Path | None = None
    """To answer from; None to call models."""
    record: Path | None = None
    """To write; None for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """Questions of a measurement."""

    answers: Sequence[LabelledAnswer] = ()
    repeated: frozenset[int] = frozenset()
    """Positions of the answers that are asked about several times."""
    repeats: int = 1
    pairs: Sequence[tuple[LabelledAnswer, LabelledAnswer]] = ()
    """A sound and a faulty answer to the same request."""
    labelled_pairs: Sequence[LabelledPair] = ()
    """Of the pairwise judge; then there are no answers."""

    @property
    def count(self) -> int:
        """Return the number of verdicts; each pair is asked about in both orders."""
        pairs = len(self.pairs) + len(self.labelled_pairs)
        return len(self.answers) + len(self.repeated) * (self.repeats - 1) + 2 * pairs


@dataclass(kw_only=True)
class Measured:
    """Results of a measurement."""

    judged: list[Judged] = field(default_factory=list)
    pairs: list[JudgedPair] = field(default_factory=list)
    verdict_count: int = 0
    """Verdicts of this command and of earlier ones that were stopped."""
    kept_count: int = 0
    """Those of earlier commands."""
    stopped: str | None = None
    """Why questions are left; None if none are."""


def plan_answers(answers: Sequence[LabelledAnswer], *, repeats: int, max_pairs: int) -> Questions:
    """Return the questions about labelled answers: a fixed choice that does not follow the suite's order."""
    repeated: frozenset[int] = frozenset()
    if repeats > 1:
        order = sorted(range(len(answers)), key=lambda index: _digest(answers[index]))
        repeated = frozenset(order[:MAX_REPEATED_ANSWERS])
    return Questions(answers=answers, repeated=repeated, repeats=repeats, pairs=_pairs(answers, max_pairs))


def assertion_of(one: LabelledAnswer, name: str) -> Assertion | None:
    """Return the assertion of an answer that judges a property; None for the fact check."""
    return next((found for found in graded_assertions(one.case) if property_name(found) == name), None)


class JudgeMeasurement:
    """Measures one judge.

    Args:
        workspace: the project.
        suite: names the grader, or none.
        identity: the judge.
        budget: what the command may still spend.
        costs: estimates of what a verdict costs.
        recordings: to answer from, or to write.
        concurrency: most verdicts at a time.
    """

    def __init__(
        self,
        workspace: Workspace,
        suite: Suite,
        identity: JudgeIdentity,
        *,
        budget: VerdictBudget,
        costs: VerdictCosts,
        recordings: Recordings,
        concurrency: int,
    ) -> None:
        self._suite = suite
        self._identity = identity
        self._budget = budget
        self._costs = costs
        self._session = JudgeSession(workspace, suite, replay=recordings.replay, record=recordings.record)
        # a recording is whole or none: it starts over
        self._log = VerdictLog(workspace, identity, is_kept=recordings == Recordings())
        self._concurrency = 1 if recordings.replay is not None else concurrency
        self._measured = Measured()
        self._judged: dict[int, Judged] = {}
        self._pairs: dict[int, JudgedPair] = {}

    async def run(self, questions: Questions) -> Measured:
        """Return the verdicts on all questions, or on those that the budget allows."""
        work: Work = [
            partial(self._judge, index, one, questions.repeats if index in questions.repeated else 1)
            for index, one in enumerate(questions.answers)
        ]
        work += [partial(self._compare, index, *pair) for index, pair in enumerate(questions.pairs)]
        if questions.labelled_pairs:
            ask = self._session.asks_preference(self._identity.judge)
            work += [partial(self._prefer, ask, *item) for item in enumerate(questions.labelled_pairs)]
        measured = self._measured
        with self._log:
            try:
                await in_parallel(work, self._concurrency)
            finally:
                await self._session.aclose()
        if measured.verdict_count < questions.count and self._budget.stopped is not None:
            measured.stopped = self._budget.stopped.what
        measured.kept_count = self._log.used_count
        measured.judged = [self._judged[index] for index in sorted(self._judged)]
        measured.pairs = [self._pairs[index] for index in sorted(self._pairs)]
        if questions.labelled_pairs:
            measured.judged = list(_ties_halved(measured.judged))
        return measured

    def finish(self) -> None:
        """Forget the kept verdicts: the next check asks anew."""
        self._log.finish()

    async def _judge(self, index: int, one: LabelledAnswer, count: int) -> None:
        assertion = assertion_of(one, self._identity.name)
        ask = self._session.asks_fact_check() if assertion is None else self._session.asks_assertion(assertion)
        value = None if assertion is None else [assertion.value, assertion.threshold]
        verdicts: list[Verdict] = []
        for repeat in range(count):
            verdict = await self._asked(
                verdict_digest("answer", one.case.id, repeat, value, one.case.vars, one.answer.prompt, one.answer.text),
                answer_usd(self._costs, self._suite, one, self._identity.name),
                partial(ask, one.answer),
            )
            if verdict is None:
                break
            verdicts.append(verdict)
        if verdicts:
            self._judged[index] = Judged(
                case=one.case.id, label=one.label, length=len(one.answer.text), verdicts=tuple(verdicts)
            )

    async def _compare(self, index: int, sound: LabelledAnswer, faulty: LabelledAnswer) -> None:
        criterion = _criterion(sound, self._identity.name)
        own = assertion_of(sound, self._identity.name)
        grader = None if own is None else own.grader
        ask = self._session.asks_choice(Assertion(type="select-best", value=criterion, grader=grader))
        estimate = answer_usd(self._costs, self._suite, sound, self._identity.name)
        found = []
        for first, second in ((sound, faulty), (faulty, sound)):
            verdict = await self._asked(
                verdict_digest("choice", criterion, first.answer.text, second.answer.text),
                estimate,
                partial(ask, first.answer, second.answer),
            )
            if verdict is None:
                return
            found.append(_position(verdict))
        self._pairs[index] = JudgedPair(sound_first=found[0], sound_second=found[1])

    async def _prefer(self, ask: Callable[[str, str, str], Awaitable[Verdict]], index: int, pair: LabelledPair) -> None:
        estimate = pair_usd(self._costs, self._identity.judge, pair)
        verdicts: list[Verdict] = []
        for first, second in ((pair.first, pair.second), (pair.second, pair.first)):
            verdict = await self._asked(
                verdict_digest("preference", pair.case, pair.request, first, second),
                estimate,
                partial(ask, pair.request, first, second),
            )
            if verdict is None:
                return
            verdicts.append(verdict)
        self._judged[index] = Judged(
            case=pair.case,
            label="pass" if pair.label == "A" else "fail",
            length=round(1000 * len(pair.first) / max(1, len(pair.second))),
            verdicts=(_both_orders(*verdicts),),
        )
        better = verdicts if pair.label == "A" else verdicts[::-1]
        self._pairs[index] = JudgedPair(sound_first=_position(better[0]), sound_second=_position(better[1]))

    async def _asked(
        self, digest: str, estimated_usd: float | None, ask: Callable[[], Awaitable[Verdict]]
    ) -> Verdict | None:
        """Return a verdict, the kept one if there is one; None if the budget allows no further one."""
        verdict = self._log.get(digest)
        if verdict is None:
            reserved = self._budget.reserve(estimated_usd or 0.0)
            if reserved is None:
                return None
            verdict = await ask()
            self._budget.settle(reserved, verdict.cost_usd)
            self._log.put(digest, verdict)
        self._measured.verdict_count += 1
        return verdict


def answer_usd(costs: VerdictCosts, suite: Suite, one: LabelledAnswer, name: str) -> float | None:
    """Return the estimated cost of a verdict on an answer; None if a price is not known."""
    assertion = assertion_of(one, name)
    own: SuiteProvider | None = None if assertion is None else assertion.grader or one.case.options.grader
    rubric = "" if assertion is None else assertion.value
    texts = (one.answer.text, one.answer.prompt, one.case.vars.get("context", ""), rubric)
    return costs.usd(sum(len(str(text)) for text in texts), grader=own or suite.grader)


def pair_usd(costs: VerdictCosts, model: str, pair: LabelledPair) -> float | None:
    """Return the estimated cost of a comparison in one order; None if the price is not known."""
    return costs.model_usd(model, len(pair.request) + len(pair.first) + len(pair.second))


def _both_orders(first: Verdict, second: Verdict) -> Verdict:
    """Return the verdict on a pair by the mean of both orders: `passed` if its first answer wins, None for a tie."""
    costs = (first.cost_usd, second.cost_usd)
    cost = None if None in costs else sum(filter(None, costs))
    calls, failure = first.call_count + second.call_count, first.failure or second.failure
    if first.score is None or second.score is None:
        unread = first if first.score is None else second
        return Verdict(None, None, unread.reason, calls, cost, failure)
    score = (first.score + 1 - second.score) / 2
    passed = None if score == _TIE else score > _TIE
    return Verdict(passed, score, first.reason, calls, cost, failure)


def _ties_halved(judged: Sequence[Judged]) -> list[Judged]:
    """Return pairs whose ties are by turns wrong and right: a tie is half a preference for either answer."""
    ties: Counter[str] = Counter()
    found = []
    for one in judged:
        verdict = one.verdicts[0]
        if verdict.score == _TIE:
            is_right = ties[one.label] % 2 == 1
            ties[one.label] += 1
            verdict = verdict._replace(passed=(one.label == "pass") == is_right, reason=f"equal: {verdict.reason}")
        found.append(replace(one, verdicts=(verdict,)))
    return found


def _position(verdict: Verdict) -> int | None:
    return None if verdict.score in (None, _TIE) else 1 - round(verdict.score or 0.0)


def _pairs(answers: Sequence[LabelledAnswer], max_count: int) -> list[tuple[LabelledAnswer, LabelledAnswer]]:
    """Return pairs of a sound and a faulty answer to the same request."""
    by_request: defaultdict[str, list[LabelledAnswer]] = defaultdict(list)
    for one in answers:
        by_request[one.request].append(one)
    pairs = []
    for group in by_request.values():
        sound = next((one for one in group if one.label == "pass"), None)
        faulty = next((one for one in group if one.label == "fail"), None)
        if sound is not None and faulty is not None:
            pairs.append((sound, faulty))
    return sorted(pairs, key=lambda pair: _digest(pair[0]))[:max_count]


def _digest(one: LabelledAnswer) -> str:
    return hashlib.sha256(f"{one.case.id}\n{one.answer.text}".encode(errors="surrogatepass")).hexdigest()


def _criterion(one: LabelledAnswer, name: str) -> str:
    """Return the criterion of a comparison: the rubric, if it is a text that all cases share, and the request."""
    assertion = assertion_of(one, name)
    is_rubric = assertion is not None and assertion.type in {"llm-rubric", "model-graded-closedqa", "g-eval"}
    criterion = str(assertion.value) if is_rubric and assertion is not None else PAIR_CRITERION
    parts = [criterion, f"Request: {one.answer.prompt}" if one.answer.prompt else ""]
    context = one.case.vars.get("context")
    if context:
        parts.append(f"Text: {context}")
    return "\n".join(filter(None, parts))
