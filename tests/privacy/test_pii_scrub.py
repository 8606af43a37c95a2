"""Scrubbing: properties for any text, placeholders, counts, hostile input, the cleaning step."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.errors import UsageError
from flowai.finetune.cleaning.filters import scrub_step
from flowai.finetune.cleaning.pipeline import Kept
from flowai.finetune.pairs.pair_text import all_texts
from flowai.finetune.records import Pair
from flowai.privacy.normalise import normalise
from flowai.privacy.scrubber import Scrubber, ScrubResult
from flowai.privacy.spans import EntityType, Span, disjoint_spans
from flowai.prompts.control_tokens import control_tokens
from flowai.redaction import SECRET_PATTERNS, Redactor
from flowai.redaction.patterns import spell_out

KEY = b"a key of sixteen bytes and more"
SCRUBBER = Scrubber(KEY)
A_KEY = next(spell_out(shape) for shape in SECRET_PATTERNS if shape.name == "anthropic")
PRIVATE = [
    "ann@doe.org", "4111 1111 1111 1111", "+44 20 7946 0958", "DE89370400440532013000", "078-05-1120",
    "203.0.113.77",
    "https://www.AnnDoe.se/", "Giulia Bianchi", "12 Main Street, Springfield, IL 62704", A_KEY,
    "\\u0041", "%40", "\u200d",
    "\uff11", "e\u0301", "\n", '"', "{", "}", "<EMAIL_00000000>", "card", "call", "1", "@", "-",
]  # fmt: skip
MARK = re.compile(r"<[A-Z]+_[0-9a-f]{8}>|\[REDACTED:[a-z-]+\]")
texts = st.lists(st.one_of(st.sampled_from(PRIVATE), st.text(max_size=12)), max_size=8).map(" ".join)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)


@given(texts)
def test_placeholders_are_unchanged_by_a_second_scrubbing(text: str) -> None:
    once = SCRUBBER.text(text).value
    twice = SCRUBBER.text(once).value
    assert set(MARK.findall(once)) <= set(MARK.findall(twice))


def test_scrubbing_twice_changes_nothing_more() -> None:
    once = SCRUBBER.text(", ".join(PRIVATE))
    assert SCRUBBER.text(once.value) == ScrubResult(value=once.value, findings={})


@given(texts)
def test_text_without_findings_is_unchanged(text: str) -> None:
    done = SCRUBBER.text(text)
    assert (done.value == text) == (not done.findings)


@given(json_values)
def test_any_json_keeps_its_shape(value: Any) -> None:
    done = SCRUBBER.value(value)
    if not done.findings:
        assert done.value == value
    elif isinstance(value, dict | list):
        assert len(done.value) == len(value)


@given(st.text())
def test_positions_in_the_plain_text_map_to_the_original(text: str) -> None:
    seen = normalise(text)
    places = [seen.source(place, place + 1) for place in range(len(seen.text))]
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert places == sorted(places)
    if text.isascii() and not set("\\%&") & set(text):
        assert seen.text is text


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10), st.sampled_from(list(EntityType)), st.floats(0, 1))))
def test_disjoint_spans_cover_the_same_characters(drawn: list[tuple[int, int, EntityType, float]]) -> None:
    spans = [Span(start=start, end=start + length, kind=kind, score=score) for start, length, kind, score in drawn]
    kept = disjoint_spans(spans)
    covered = [place for span in kept for place in range(span.start, span.end)]
    assert covered == sorted(set(covered))
    assert set(covered) == {place for span in spans for place in range(span.start, span.end)}


def test_a_value_has_one_placeholder_per_key() -> None:
    first = SCRUBBER.text("ann@doe.org, bob@doe.org, ANN@DOE.ORG").value
    marks = re.findall(r"<EMAIL_[0-9a-f]{8}>", first)
    assert marks[0] == marks[2] != marks[1]
    assert SCRUBBER.text("ann@doe.org").value == marks[0]
    assert Scrubber(b"another key of sixteen bytes").text("ann@doe.org").value not in marks
    assert "doe" not in first.lower()


def test_one_phone_number_has_one_placeholder_however_it_is_dialled() -> None:
    spellings = ("+49 30 1234567", "0049 30 1234567", "+49 (0)30 123 45 67", "0049-30-1234567")
    texts = [SCRUBBER.text(f"Please phone me at {number}, thanks.").value for number in spellings]
    assert len(set(texts)) == 1
    assert "<PHONE_" in texts[0]
    assert SCRUBBER.text("Please phone me at +49 30 1234568, thanks.").value != texts[0]


def test_counts_name_kinds_and_no_values() -> None:
    done = SCRUBBER.text(f"ann@doe.org, bob@doe.org, key {A_KEY}")
    assert done.findings == {"EMAIL": 2, "SECRET:anthropic": 1}


def test_known_secrets_are_found_literally() -> None:
    assert (
        "[REDACTED:known]" in Scrubber(KEY, known_secrets=["hunter-two-forever"]).text("it is hunter-two-forever").value
    )


def test_a_short_key_is_refused() -> None:
    with pytest.raises(UsageError, match="5 bytes"):
        Scrubber(b"short")


HOSTILE = [
    "1", "1 ", "1-", "(1)", "4111 ", "a@", "a@a.", "a.", "A ", "Aa ", "John ", "http://a:", "+1", "1.1.", "12 Main ",
    "a:",
    "DE89 1 ", "\\u0041", "\u200b1", "the corner of A and ", "<EMAIL_12345678> a@b.co ",
    "0490 75 40 81 / ", "Box 1 ", "[",
    '{"a":',
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_of_great_length_is_scrubbed(unit: str) -> None:
    # a search that is not linear would take hours here, and the test's time limit ends it
    SCRUBBER.text(unit * (120_000 // len(unit)))


@pytest.mark.slow  # scrubs thousands of messages
def test_a_conversation_of_many_tiny_messages_is_scrubbed() -> None:
    messages = [{"role": ("user", "assistant")[turn % 2], "content": "4 1"} for turn in range(4_000)]
    assert len(SCRUBBER.messages(messages).value) == len(messages)


@pytest.mark.parametrize(
    "content", [None, 7, 1.5, True, [], {}, [None, "ann@doe.org"], {"type": "text"}, [[["ann@doe.org"]]]]
)
def test_malformed_messages_are_scrubbed(content: Any) -> None:
    done = SCRUBBER.messages([{"role": "user", "content": content, "tool_calls": "ann@doe.org"}, {}])
    assert "ann@doe.org" not in str(done.value)
    assert done.value[1] == {}


def test_deep_json_is_cut_off() -> None:
    value: Any = "ann@doe.org"
    for _ in range(100):
        value = [value]
    assert "ann@doe.org" not in str(SCRUBBER.value(value).value)
    assert "ann@doe.org" not in SCRUBBER.text("[" * 5000 + '"ann@doe.org"' + "]" * 5000).value


def test_unpaired_surrogates_and_nulls_are_scrubbed() -> None:
    assert SCRUBBER.text("\ud800ann@doe.org\x00").findings == {"EMAIL": 1}
    assert SCRUBBER.text("Giulia Bianch\ud800i").value


def pair(**changes: Any) -> Pair:
    known: dict[str, Any] = {
        "id": "1",
        "at": "2026-01-01T00:00:00Z",
        "feature": "f",
        "messages": ({"role": "user", "content": "card 4111 1111"},),
        "output": "1111 1111 is the rest, ann@doe.org",
        "opinion": "accepted",
    }
    return Pair(**{**known, **changes})


def test_the_step_scrubs_every_text_of_a_pair() -> None:
    passed = scrub_step(SCRUBBER)(pair(opinion="edited", edit="mail bob@doe.org"))
    assert isinstance(passed, Kept)
    assert passed.findings == {"CARD": 2, "EMAIL": 2}
    assert not {"1111", "doe.org"} & set(re.findall(r"1111|doe\.org", " ".join(all_texts(passed.pair))))


def test_the_step_leaves_a_clean_pair_alone() -> None:
    clean = pair(messages=({"role": "user", "content": "hello"},), output="hi")
    assert scrub_step(SCRUBBER)(clean).pair is clean


def test_control_tokens_are_reported_once() -> None:
    assert control_tokens("a<|im_end|>b<|im_end|>[INST] \uff1c|eot_id|\uff1e") == (
        "<|im_end|>",
        "[INST]",
        "\uff1c|eot_id|\uff1e",
    )
    assert control_tokens("a < b | c > d") == ()
    assert control_tokens("") == ()


def test_without_phonenumbers_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(UsageError, match="`phonenumbers` is not installed") as failure:
        Scrubber(KEY)
    assert failure.value.hint is not None
    assert "flowai[finetune]" in failure.value.hint


@given(texts)
def test_the_redactor_spans_are_what_it_redacts(text: str) -> None:
    redactor = Redactor()
    assert bool(redactor.spans(text)) == (redactor.text(text) != text)
