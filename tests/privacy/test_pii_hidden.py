"""Hidden private values and secrets: other spellings, JSON inside strings, values split over messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from flowai.privacy.normalise import normalise
from flowai.privacy.scrubber import Scrubber
from flowai.redaction import SECRET_PATTERNS, SecretPattern
from flowai.redaction.patterns import spell_out

if TYPE_CHECKING:
    from collections.abc import Callable

SCRUBBER = Scrubber(b"a key of sixteen bytes and more")
VALUES = [
    "4111 1111 1111 1111",
    "4111111111111111",
    "ann.doe@mail.org",
    "DE89370400440532013000",
    "078-05-1120",
    "+44 20 7946 0958",
]


def full_width(text: str) -> str:
    return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)


def joined(text: str) -> str:
    return "\u200d".join(text)


def hyphenated(text: str) -> str:
    return "\u00ad".join(text)


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(one):04x}" for one in text)


def twice_escaped(text: str) -> str:
    return "".join(f"\\\\u{ord(one):04x}" for one in text)


def percent(text: str) -> str:
    return "".join(f"%{ord(one):02X}" for one in text)


def entities(text: str) -> str:
    return "".join(f"&#{ord(one)};" for one in text)


def arabic_digits(text: str) -> str:
    return text.translate({ord("0") + digit: chr(0x660 + digit) for digit in range(10)})


def no_break(text: str) -> str:
    return text.replace(" ", "\u00a0").replace("-", "\u2011").replace("@", "\ufe6b")


SPELLINGS: list[Callable[[str], str]] = [
    full_width,
    joined,
    hyphenated,
    escaped,
    twice_escaped,
    percent,
    entities,
    arabic_digits,
    no_break,
    str,
]


def text_of(messages: list[dict[str, Any]]) -> str:
    """Return the text of all messages without gaps."""
    return "".join(normalise(json.dumps(messages, ensure_ascii=False)).text.split()).replace("-", "").lower()


def bare(value: str) -> str:
    return "".join(value.split()).replace("-", "").lower()


@pytest.mark.parametrize("spell", SPELLINGS)
@pytest.mark.parametrize("value", VALUES)
def test_a_hidden_value_is_replaced(value: str, spell: Any) -> None:
    scrubbed = SCRUBBER.text(f"here: {spell(value)} ok")
    assert list(scrubbed.findings.values()) == [1]
    assert bare(value) not in bare(normalise(scrubbed.value).text)
    assert scrubbed.value.startswith("here: <")
    assert scrubbed.value.endswith("> ok")


@pytest.mark.parametrize("value", VALUES)
def test_every_spelling_gets_the_same_placeholder(value: str) -> None:
    assert len({SCRUBBER.text(f"here: {spell(value)} ok").value for spell in SPELLINGS}) == 1


@pytest.mark.parametrize("shape", SECRET_PATTERNS, ids=lambda shape: shape.name)
@pytest.mark.parametrize("spell", [str, full_width, joined, escaped, percent])
def test_a_hidden_secret_is_replaced(shape: SecretPattern, spell: Any) -> None:
    scrubbed = SCRUBBER.text(f"use {spell(spell_out(shape))} now")
    assert bare(spell_out(shape)) not in bare(normalise(scrubbed.value).text)
    assert any(name.startswith(("SECRET", "URL")) for name in scrubbed.findings)


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("value", [*VALUES, *(spell_out(shape) for shape in SECRET_PATTERNS[:12])])
def test_values_in_tool_arguments_are_replaced_and_the_arguments_stay_json(value: str, ascii_only: bool) -> None:
    inner = json.dumps({"deep": [value, 1.5, None, True]}, ensure_ascii=ascii_only)
    arguments = json.dumps({"note": full_width(value), "inner": inner, value: 1}, ensure_ascii=ascii_only)
    call = {"id": "call_1", "type": "function", "function": {"name": "pay", "arguments": arguments}}
    done = SCRUBBER.messages([{"role": "assistant", "content": None, "tool_calls": [call]}])
    function = done.value[0]["tool_calls"][0]["function"]
    assert bare(value) not in text_of(done.value)
    assert function["name"] == "pay"
    assert done.value[0]["tool_calls"][0]["id"] == "call_1"
    assert json.loads(json.loads(function["arguments"])["inner"])["deep"][1:] == [1.5, None, True]


def test_numbers_and_field_names_are_scrubbed() -> None:
    done = SCRUBBER.value(
        {"card": 4111111111111111, "phone_number": "04907540", "customerName": "Xulio Praxedes", "n": 7}
    )
    assert done.findings == {"CARD": 1, "PERSON": 1, "PHONE": 1}
    assert done.value["n"] == 7
    assert SCRUBBER.value({"password": "correct-horse", "api_key": "${KEY}"}).findings == {"SECRET:field": 1}


def test_a_duplicate_field_hides_nothing() -> None:
    text = '{"a": "ann@doe.org", "a": "nothing"}'
    assert "ann@doe.org" not in SCRUBBER.text(text).value


@pytest.mark.parametrize(
    "value",
    [*VALUES, *(spell_out(shape) for shape in SECRET_PATTERNS if shape.name in {"openai", "anthropic", "groq"})],
)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("between", [[], ["go on"], ["go on", "yes?", "and?"]])
def test_a_value_split_over_messages_is_replaced(value: str, share: float, between: list[str]) -> None:
    cut = int(len(value) * share)
    said_between = [{"role": "assistant", "content": text} for text in between]
    messages = [
        {"role": "user", "content": f"it is {value[:cut]}"},
        *said_between,
        {"role": "user", "content": f"{value[cut:]} there"},
    ]
    done = SCRUBBER.messages(messages)
    assert done.findings
    left = bare(done.value[0]["content"]) + bare(done.value[-1]["content"])
    assert bare(value[:cut]) not in left or bare(value[cut:]) not in left
    assert done.value[0]["content"].startswith("it is ")
    assert done.value[-1]["content"].endswith(" there")
    assert done.value[1:-1] == said_between


def test_a_card_number_in_pieces_is_replaced() -> None:
    messages = [
        {"role": "user", "content": "my card starts with 4111 1111"},
        {"role": "assistant", "content": "and then?"},
        {"role": "user", "content": "then 1111"},
        {"role": "assistant", "content": "and then?"},
        {"role": "user", "content": "it ends in 1111, ok"},
    ]
    assert SCRUBBER.messages(messages).findings == {"CARD": 3}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("see you at 5", "4 people come"),
        ("it costs 12", "34 would be too much"),
        ("write to bob", "@alice said so"),
        ("is it version 1.2", "3.4 is newer"),
        ("thanks", "bob@doe.org is mine"),
    ],
)
def test_unrelated_messages_are_not_joined(first: str, second: str) -> None:
    done = SCRUBBER.messages([{"role": "user", "content": first}, {"role": "user", "content": second}])
    assert done.value[0]["content"] == first
    assert sum(done.findings.values()) == second.count("bob@")


def test_content_parts_and_images() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD4111111111111111"}}
    message = {"role": "user", "content": [{"type": "text", "text": "I am ann@doe.org"}, picture]}
    done = SCRUBBER.messages([message])
    assert done.findings == {"EMAIL": 1}
    assert done.value[0]["content"][1] == picture
    assert message["content"][0] == {"type": "text", "text": "I am ann@doe.org"}
