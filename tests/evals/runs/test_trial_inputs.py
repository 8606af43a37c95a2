"""A trial's inputs: secrets are redacted before anything is clipped, and nothing is too large for a report."""

from __future__ import annotations

from typing import Any

import msgspec

from flowai.evals.runs.answers.trial_inputs import MAX_VALUE_CHARS, trial_inputs
from flowai.evals.suites.records import Assertion, Case
from flowai.redaction import Redactor

SECRET = "a-known-secret-0123456789"


def inputs_of(messages: list[Any] | None = None, **facts: Any) -> Any:
    redactor = Redactor([SECRET])
    case = Case(**({"id": "a", "vars": {}, "assertions": ()} | facts))
    return trial_inputs(case, messages or [{"role": "user", "content": "hi"}], redactor.text, redactor.value)


def test_no_secret_remains_in_any_field() -> None:
    found = inputs_of(
        messages=[{"role": "system", "content": f"key {SECRET}"}, {"role": "user", "content": [{"text": SECRET}]}],
        vars={"text": f"x {SECRET}", SECRET: [SECRET], "password": "hunter2hunter2"},
        description=f"about {SECRET}",
        metadata={"note": {"deep": [SECRET]}},
        tags=(SECRET,),
        assertions=(Assertion(type="equals", value=f"say {SECRET}"),),
    )
    text = msgspec.json.encode(found._asdict()).decode()
    assert SECRET not in text
    assert "hunter2" not in text
    assert text.count("[REDACTED:") >= 8


def test_a_secret_at_the_place_of_the_cut_is_gone() -> None:
    for offset in range(1, len(SECRET)):
        found = inputs_of(vars={"text": "y" * (MAX_VALUE_CHARS - offset) + SECRET + "z" * 100})
        assert SECRET[:8] not in found.vars["text"]


def test_large_values_are_clipped_and_say_so() -> None:
    deep: Any = "end"
    for _ in range(100):
        deep = [deep]
    found = inputs_of(
        messages=[{"role": "user", "content": "p" * 10_000_000}],
        vars={
            "text": "x" * 1_000_000,
            "list": list(range(5_000)),
            "deep": deep,
            "fields": {str(n): n for n in range(900)},
        },
    )
    assert found.vars["text"].endswith("[... 996,000 more characters]")
    assert found.vars["list"][-1] == "... 4,800 more"
    assert found.vars["fields"]["..."] == "700 more fields"
    assert found.prompt_text.endswith("more characters]")
    assert len(msgspec.json.encode(found._asdict())) < 60_000


def test_the_expected_text_is_that_of_an_assertion_about_the_whole_answer() -> None:
    contains, equals = Assertion(type="contains", value="a"), Assertion(type="equals", value={"b": 1})
    assert inputs_of(assertions=(contains,)).expected is None
    assert inputs_of(assertions=(contains, equals)).expected == '{"b": 1}'
    assert inputs_of(assertions=(msgspec.structs.replace(equals, negated=True),)).expected is None
    group = Assertion(type="assert-set", children=(Assertion(type="levenshtein", value="near"),))
    assert inputs_of(assertions=(group,)).expected == "near"


def test_the_prompt_is_one_text_with_roles_if_there_are_several() -> None:
    assert inputs_of().prompt_text == "hi"
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ]
    assert inputs_of(messages=messages).prompt_text == 'system: be brief\n\nuser: [{"type": "text", "text": "hi"}]'
