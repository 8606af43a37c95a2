"""Quality checks: empty, unreadable, out of limits, refusing, looping, toxic, in another language."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.training_rows import make_pair

from flowai.errors import UsageError
from flowai.finetune.cleaning import language, toxicity
from flowai.finetune.cleaning.language import Languages
from flowai.finetune.cleaning.quality import QualityLimits, has_repetition, quality_problem
from flowai.finetune.cleaning.refusals import is_refusal
from flowai.finetune.cleaning.toxicity import THRESHOLD, Toxicity
from flowai.finetune.dedup.shingles import folded

ASK = ({"role": "user", "content": "Where does the river go?"},)
ROOT = Path(__file__).resolve().parents[2]
LOG = (ROOT / "datasets" / "long" / "harbour_log.txt").read_text(encoding="utf-8")

detects_toxicity = pytest.mark.skipif(not toxicity.can_detect(), reason="alt-profanity-check is not installed")
detects_language = pytest.mark.skipif(not language.can_detect(), reason="py3langid is not installed")


def reason(output: str, rules: QualityLimits | None = None, request: str = "Where does the river go?") -> str | None:
    fault = quality_problem(
        make_pair(({"role": "user", "content": request},), output=output), rules or QualityLimits(), len
    )
    return None if fault is None else fault.reason


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("To the sea.", None),
        ("4", None),
        ("\t| a | b |\r\n|---|---|\n", None),
        ("", "empty"),
        (" \n\u200b\u00a0", "empty"),
        ("To the\x00sea", "binary"),
        ("\x1b[31mred", "binary"),
        ("half \ud83d", "binary"),
        ("\ufffd\ufffd\ufffd PNG", "binary"),
        ("a long text with one lost letter: caf\ufffd " + "and so on " * 20, None),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("It goes on. " * 60, "repetition"),
        ("x" * 300_000, "too_long"),
    ],
)
def test_a_problem_has_its_reason(output: str, expected: str | None) -> None:
    assert reason(output) == expected


def test_an_empty_request_and_an_unreadable_tool_answer_are_problems() -> None:
    assert reason("To the sea.", request=" ") == "empty"
    broken = (*ASK, {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "\x01"}]})
    fault = quality_problem(make_pair(broken), QualityLimits())
    assert fault is not None
    assert fault.reason == "binary"
    assert fault.detail == "U+0001 in a text"


def test_limits_are_inclusive() -> None:
    assert reason("To the sea.", QualityLimits(min_answer_chars=11)) is None
    assert reason("To the sea", QualityLimits(min_answer_chars=11)) == "too_short"
    assert reason("Yes.", QualityLimits(min_request_chars=100)) == "too_short"
    assert reason("To the sea.", QualityLimits(max_chars=34)) == "too_long"
    assert reason("To the sea.", QualityLimits(max_chars=35)) is None
    assert reason("To the sea.", QualityLimits(max_tokens=34)) == "too_long"
    assert reason("I can't help with that.", QualityLimits(refusals=False)) is None
    assert reason("It goes on. " * 60, QualityLimits(repetitions=False)) is None


def test_an_edit_is_what_is_judged() -> None:
    assert (
        quality_problem(make_pair(ASK, output="I can't help with that.", edit="To the sea."), QualityLimits()) is None
    )
    fault = quality_problem(make_pair(ASK, output="To the sea.", edit=" "), QualityLimits())
    assert fault is not None
    assert fault.reason == "empty"


@pytest.mark.parametrize(
    "answer",
    [
        "I\u2019m sorry, but I can\u2019t assist with that request.",
        "I cannot provide medical advice.",
        "I am unable to fulfill this request.",
        "I won't be able to assist with that.",
        "As an AI language model, I have no feelings.",
        "I must decline to answer that.",
        "I can't.",
        '{"error": "I cannot help with this"}',
        "Es tut mir leid, aber dabei kann ich leider nicht helfen.",
        "Ich kann Ihnen bei dieser Anfrage leider nicht weiterhelfen.",
        "Je ne peux pas vous aider avec cela.",
        "Lo siento, pero no puedo ayudar con eso.",
        "Desculpe, não posso ajudar com isso.",
        "Mi dispiace, non posso aiutarti con questo.",
        "Sorry, daar kan ik niet mee helpen; ik kan je hier niet bij helpen.",
        "Я не могу помочь с этим.",  # noqa: RUF001 - Russian
        "抱歉,我无法回答这个问题。",
        "申し訳ありませんが、そのご要望にはお応えできません。",
        "죄송합니다. 도와드릴 수 없습니다.",
    ],
)
def test_refusals_are_known(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but we cannot refund tickets after the show.",
        "I can't believe how well this works!",
        "I can help with that.",
        "You cannot create two rows with one key.",
        "We can't provide a date yet.",
        "I will not be in the office on Friday.",
        "I could not find the file; it was deleted in March.",
        "This violates the house rules: no smoking.",
        "Je ne sais pas.",
        "Der Zug kann heute nicht fahren.",
        "To begin with, the river goes north. " * 10 + "I cannot help with that.",
    ],
)
def test_what_only_sounds_like_a_refusal_is_an_answer(answer: str) -> None:
    assert not is_refusal(answer)


def test_loops_differ_from_regular_text() -> None:
    table = "| a | b |\n|---|---|\n" + "".join(f"| row {row} | value {row * 7 % 13} |\n" for row in range(60))
    chart = json.dumps({"nodes": [{"id": f"n{row}", "label": "Step", "row": row} for row in range(60)]})
    for fine in (table, chart, LOG, (ROOT / "datasets" / "summary.jsonl").read_text(encoding="utf-8"), "ha " * 20):
        assert not has_repetition(folded(fine))
    for endless in ("The answer is 4. " * 40, LOG[:900] + " and then it is done" * 60, "no " * 200):
        assert has_repetition(folded(endless))


@given(st.text(max_size=400))
def test_any_text_is_judged(text: str) -> None:
    quality_problem(make_pair(({"role": "user", "content": text},), output=text), QualityLimits())


@detects_toxicity
def test_toxic_texts_differ_from_technical_ones() -> None:
    toxic = ["You are a fucking idiot.", "Shut up, bitch!", "go kill yourself"]
    toxic += ["The report is fine. " * 60 + "You fucking moron." + " And so on." * 60, "what an a\u200bss\u200bhole"]
    fine = ["Kill the process with kill -9.", "The master database and its slaves.", "", "to the sea", LOG]
    scores = Toxicity().scores([*toxic, *fine])
    assert min(scores[: len(toxic)]) >= THRESHOLD > max(scores[len(toxic) :])
    assert Toxicity().scores([]) == []


@detects_toxicity
def test_exercises_and_our_own_pages_are_not_toxic(shared_data: Path) -> None:
    lines = (shared_data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [text for line in lines for text in json.loads(line).values()]
    texts += [part for page in sorted(ROOT.glob("docs/**/*.md")) for part in page.read_text("utf-8").split("\n\n")]
    scores = Toxicity().scores(texts)
    assert sum(score >= THRESHOLD for score in scores) <= len(texts) / 1_000


@detects_language
def test_unexpected_languages_are_named() -> None:
    expected = Languages(["en", "de"])
    assert expected.other_language("The river goes to the sea, and the sea goes nowhere at all.") is None
    assert expected.other_language("Der Fluss fließt in das Meer, und das Meer fließt nirgendwohin.") is None
    assert expected.other_language("Le fleuve va à la mer, et la mer ne va nulle part du tout.") == "fr"
    assert expected.other_language("川は海に流れ、海はどこにも行かない。それだけのことです。") == "ja"
    for unsure in (
        "",
        "ok",
        "def add(a, b):\n    return a + b",
        '{"nodes": [{"id": "n1"}]}',
        "#FF0000 #00FF00 #0000FF",
    ):
        assert expected.other_language(unsure) is None, unsure


@detects_language
def test_a_language_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UsageError, match="there is no language `english`"):
        Languages(["english"])


def test_without_the_packages_the_error_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toxicity, "can_detect", lambda: False)
    monkeypatch.setattr(language, "can_detect", lambda: False)
    with pytest.raises(UsageError, match="alt-profanity-check is not installed") as missing:
        Toxicity()
    assert missing.value.hint == "pip install 'flowai[finetune]'"
    with pytest.raises(UsageError, match="py3langid is not installed"):
        Languages(["en"])
