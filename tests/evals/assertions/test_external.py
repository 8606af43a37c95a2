"""Checks that call the suite's code, an address or an embedder, and comparisons of answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from flowai.errors import CallError, SuiteError
from flowai.evals.assertions import Answer, compile_check, compile_checks
from flowai.evals.assertions.comparison import compile_comparisons
from flowai.evals.assertions.scoring import score_results
from flowai.evals.assertions.services import CheckServices, CodeError
from flowai.evals.suites.records import Assertion, Case, CodeRef
from flowai.providers.client import Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.evals.assertions.scoring import Score
    from flowai.evals.reports.records import AssertionResult
    from flowai.evals.suites.records import SuiteProvider

PYTHON = CodeRef(language="python", source="whatever")
JAVASCRIPT = CodeRef(language="javascript", source="whatever")


class ScriptedCode:
    """A code runner whose code is a Python function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    async def call(self, code: CodeRef, arguments: Sequence[Any], *, timeout_s: float = 1.0) -> Any:  # noqa: ARG002
        return self.function(*arguments)


class ScriptedAddress:
    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.posted: list[tuple[str, Any]] = []

    async def post(self, url: str, body: Any) -> Any:
        self.posted.append((url, body))
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


class LetterEmbedder:
    """Embeds a text as its counts of `a` and `b`."""

    async def embed(self, embedder: SuiteProvider | None, texts: Sequence[str]) -> Embeddings:  # noqa: ARG002
        vectors = tuple((float(text.count("a")), float(text.count("b"))) for text in texts)
        return Embeddings(vectors=vectors, input_tokens=None, cost_usd=None)


def run(assertion: Assertion, services: Any, answer: Answer) -> AssertionResult:
    return asyncio.run(compile_check(assertion, services=services).wait(answer))


def by_code(value: Any, *, code: CodeRef = PYTHON, **fields: Any) -> AssertionResult:
    services = CheckServices(code=ScriptedCode(lambda *_: value))
    return run(Assertion(type=code.language, code=code, **fields), services, Answer(text="x"))


@pytest.mark.parametrize(
    ("value", "fields", "passed", "score"),
    [
        (True, {}, True, 1.0),
        (False, {}, False, 0.0),
        (False, {"negated": True}, True, 1.0),
        (0.3, {}, True, 0.3),
        (0, {}, False, 0.0),
        (0.3, {"threshold": 0.5}, False, 0.3),
        (7, {}, True, 1.0),
        ("true", {}, True, 1.0),
        ("0.25", {}, True, 0.25),
        ('{"pass": true, "score": 0.5, "reason": "so"}', {}, True, 0.5),
        ({"pass": True, "score": 0.4, "reason": "so"}, {"threshold": 0.5}, False, 0.4),
        ({"pass": True, "score": 0.4, "reason": "so"}, {"threshold": 0.5, "code": JAVASCRIPT}, True, 0.4),
        ({"pass_": False, "score": 0.0, "reason": "no"}, {}, False, 0.0),
    ],
)
def test_what_code_returns_decides(value: Any, fields: dict[str, Any], passed: bool, score: float) -> None:
    result = by_code(value, **fields)
    assert (result.passed, result.score) == (passed, score)


def test_named_scores_become_metrics() -> None:
    named = {"pass": True, "score": 1, "reason": "", "namedScores": {"tone": 0.5, "wrong": "x"}}
    assert by_code(named).metrics == {"tone": 0.5}
    in_set = Assertion(type="assert-set", children=(Assertion(type="python", code=PYTHON),))
    services = CheckServices(code=ScriptedCode(lambda *_: named))
    assert run(in_set, services, Answer(text="x")).metrics == {"tone": 0.5}


@pytest.mark.parametrize(
    "value",
    [None, "yes", [1], {}, {"pass": "true", "score": 1, "reason": ""}, float("nan"), {"pass": True, "score": 1}],
)
@pytest.mark.parametrize("code", [PYTHON, JAVASCRIPT])
@pytest.mark.parametrize("negated", [False, True])
def test_nonsense_is_not_judged(value: Any, code: CodeRef, negated: bool) -> None:
    result = by_code(value, code=code, negated=negated)
    assert result.passed is None
    assert "expected true or false" in result.reason


def test_code_that_breaks_is_not_judged() -> None:
    def broken(*_: Any) -> Any:
        raise CodeError("raised ValueError:\n\x1b[31mno")

    result = run(Assertion(type="python", code=PYTHON), CheckServices(code=ScriptedCode(broken)), Answer(text="x"))
    assert result.passed is None
    assert result.reason == "python: the code raised ValueError: \\u001b[31mno"


def test_code_sees_the_value_and_its_context() -> None:
    seen: list[Any] = []

    def keep(*arguments: Any) -> bool:
        seen.extend(arguments)
        return True

    services = CheckServices(code=ScriptedCode(keep))
    answer = Answer(text='{"a":1}', output={"a": 1}, variables={"city": "Paris"}, prompt="Where?", provider="echo")
    assert run(Assertion(type="python", code=PYTHON, config={"min": 1}), services, answer).passed is True
    output, context = seen
    assert output == {"a": 1}
    assert context["vars"] == {"city": "Paris"}
    assert context["prompt"] == "Where?"
    assert context["provider"] == {"id": "echo"}
    assert context["config"] == {"min": 1}


def test_code_changes_the_answer_first() -> None:
    services = CheckServices(code=ScriptedCode(lambda output, _: output.upper()))
    assert run(Assertion(type="equals", value="PARIS", transform=PYTHON), services, Answer(text="paris")).passed is True
    to_list = CheckServices(code=ScriptedCode(lambda output, _: [output]))
    assert run(Assertion(type="is-json", transform=PYTHON), to_list, Answer(text="x")).passed is True
    nothing = CheckServices(code=ScriptedCode(lambda *_: None))
    assert run(Assertion(type="is-json", transform=PYTHON), nothing, Answer(text="1")).passed is None


def test_code_computes_the_value() -> None:
    computed = Assertion(type="contains", code=PYTHON)
    assert run(computed, CheckServices(code=ScriptedCode(lambda *_: "ari")), Answer(text="Paris")).passed is True
    for value, reason in ((True, "returned a result"), ("", "found an empty text")):
        result = run(computed, CheckServices(code=ScriptedCode(lambda *_, value=value: value)), Answer(text="Paris"))
        assert result.passed is None
        assert reason in result.reason


def test_a_run_without_code_refuses_it_before_any_call() -> None:
    for assertion in (Assertion(type="python", code=PYTHON), Assertion(type="equals", value="x", transform=PYTHON)):
        with pytest.raises(SuiteError, match="does not allow"):
            compile_check(assertion)


@pytest.mark.parametrize(
    ("reply", "passed", "score"),
    [
        ({"pass": True}, True, 1.0),
        ({"pass": True, "score": 0.5}, True, 0.5),
        ({"pass": False, "reason": "rude"}, False, 0.0),
        ({"pass": "yes"}, None, 0.0),
        ([], None, 0.0),
        (CallError("status 500", provider="webhook", model="-"), None, 0.0),
    ],
)
def test_a_webhook_decides(reply: Any, passed: bool | None, score: float) -> None:
    address = ScriptedAddress(reply)
    answer = Answer(text="hi", prompt="p", variables={"a": 1})
    result = run(Assertion(type="webhook", value="http://127.0.0.1:1/x"), CheckServices(webhooks=address), answer)
    assert (result.passed, result.score) == (passed, score)
    assert address.posted == [("http://127.0.0.1:1/x", {"output": "hi", "context": {"prompt": "p", "vars": {"a": 1}}})]


@pytest.mark.parametrize(
    ("kind", "value", "threshold", "text", "passed"),
    [
        ("similar", "ab", None, "aabb", True),
        ("similar", "a", None, "b", False),
        ("similar:cosine", ["b", "a"], 0.99, "aaa", True),
        ("similar:dot", "aa", 4, "aa", True),
        ("similar:dot", "a", 4, "aa", False),
        ("similar:euclidean", "aa", 1, "a", True),
        ("similar:euclidean", "aaaa", 1, "a", False),
        ("similar", "x", None, "y", False),
    ],
)
def test_embeddings_are_compared(kind: str, value: Any, threshold: float | None, text: str, passed: bool) -> None:
    embedder: Any = LetterEmbedder()  # of a ModelCaller, it only embeds
    services = CheckServices(models=embedder)
    result = run(Assertion(type=kind, value=value, threshold=threshold), services, Answer(text=text))
    assert result.passed is passed
    opposite = run(Assertion(type=kind, value=value, threshold=threshold, negated=True), services, Answer(text=text))
    assert opposite.passed is not passed


def compared(value: Any, answers: Sequence[str], **fields: Any) -> list[Score]:
    others = (Assertion(type="icontains", value="a"), Assertion(type="is-json"))
    case = Case(id="c", vars={}, assertions=(*others, Assertion(type="max-score", value=value, **fields)))
    checks = compile_checks(case.assertions)
    assert len(checks) == 2
    texts = [Answer(text=text) for text in answers]
    scores = [score_results(tuple(check(answer) for check in checks), 0.5) for answer in texts]
    (comparison,) = compile_comparisons(case, CheckServices())
    return asyncio.run(comparison.compare(texts, scores))


@pytest.mark.parametrize(
    ("value", "answers", "passed"),
    [
        (None, ("a", '"a"', "b"), [False, True, False]),
        (None, ("a", "aa"), [True, False]),
        ({"method": "sum"}, ("1", "a", '"a"'), [False, False, True]),
        ({"weights": {"is-json": 3}}, ("a", "1"), [False, True]),
        ({"threshold": 0.9}, ("a", "1"), [False, False]),
        (None, ("a",), [None]),
    ],
)
def test_the_best_answer_wins(value: Any, answers: Sequence[str], passed: list[bool | None]) -> None:
    scores = compared(value, answers)
    assert [score.checks[-1].passed for score in scores] == passed
    outcomes = {True: {"pass", "fail"}, False: {"fail"}, None: {"unscored", "fail"}}
    assert all(score.outcome in outcomes[judged] for score, judged in zip(scores, passed, strict=True))


def test_a_comparison_of_weight_0_fails_no_answer() -> None:
    assert [score.outcome for score in compared(None, ("a", '"a"'), weight=0.0)] == ["pass", "pass"]


@pytest.mark.parametrize(
    ("assertion", "what"),
    [
        (Assertion(type="max-score", value={"method": "median"}), "expected `average` or `sum`"),
        (Assertion(type="max-score", value={"weights": {"a": "x"}}), "expected a number for each type"),
        (Assertion(type="max-score", negated=True), "cannot be negated"),
        (Assertion(type="select-best", value="is best"), "does not allow"),
    ],
)
def test_a_wrong_comparison_is_an_error(assertion: Assertion, what: str) -> None:
    with pytest.raises(SuiteError, match=what):
        compile_comparisons(Case(id="c", vars={}, assertions=(assertion,)), CheckServices())


def test_a_set_cannot_contain_a_comparison() -> None:
    with pytest.raises(SuiteError, match="a set cannot contain it"):
        compile_check(Assertion(type="assert-set", children=(Assertion(type="max-score"),)))


@pytest.mark.parametrize(
    ("kind", "threshold", "text", "passed", "score"),
    [
        ("or", None, "a", True, 1.0),
        ("or", None, "c", False, 0.0),
        ("or", 0.5, "b", True, 1.0),
        ("and", None, "a", False, 0.5),
        ("and", None, "ab", True, 1.0),
        ("and", 0.5, "a", True, 0.5),
    ],
)
def test_and_needs_all_or_needs_one(kind: str, threshold: float | None, text: str, passed: bool, score: float) -> None:
    children = (Assertion(type="contains", value="a"), Assertion(type="contains", value="b"))
    result = compile_check(Assertion(type=kind, threshold=threshold, children=children))(Answer(text=text))
    assert (result.passed, result.score) == (passed, score)
