"""Parts of a streamed answer: one after the other and whole, in whatever order their deltas come."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.errors import MalformedAnswerError
from flowai.gateway.records import TextChunk
from flowai.server.completion.answer_parts import AnswerPart, PartEvent, PartStream


def delta(index: int, arguments: str, name: str = "", call_id: str = "") -> TextChunk:
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if name:
        call |= {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return TextChunk(text="", tool_calls=(call,))


def steps_of(chunks: list[TextChunk]) -> list[PartEvent]:
    stream = PartStream("c1")
    return [event for chunk in chunks for event in stream.add(chunk)] + list(stream.end())


def parts_from(events: list[PartEvent]) -> list[AnswerPart]:
    """Assemble parts as a client does, and check that each is complete before the next one begins."""
    parts: list[AnswerPart] = []
    texts: dict[int, str] = {}
    is_open = False
    for event in events:
        if event.step == "opened":
            assert not is_open
            assert event.part.index == len(parts)
            parts.append(event.part)
            texts[event.part.index] = ""
        else:
            assert is_open
            assert event.part is parts[-1]
            texts[event.part.index] += event.text
        is_open = event.step != "closed"
    assert not is_open
    assert [part.text for part in parts] == list(texts.values())
    return parts


@given(data=st.data())
def test_any_interleaving_gives_whole_parts(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=2), max_size=4))
    pieces: list[list[TextChunk]] = []
    for index, value in enumerate(values):
        text = json.dumps(value)
        cut = data.draw(st.integers(0, len(text)))
        pieces.append([delta(index, text[:cut], f"f{index}", f"t{index}"), delta(index, text[cut:])])
    chunks: list[TextChunk] = []
    while any(pieces):
        chosen = data.draw(st.sampled_from([each for each in pieces if each]))
        chunks.append(chosen.pop(0))
    calls = {part.tool_id: part for part in parts_from(steps_of(chunks))}
    assert {name: part.arguments() for name, part in calls.items()} == {
        f"t{index}": value for index, value in enumerate(values)
    }


def test_text_before_between_and_after_calls_is_a_part_each() -> None:
    chunks = [
        TextChunk(text="a"),
        TextChunk(text="b"),
        delta(0, "{}", "f", "t0"),
        TextChunk(text="c"),
        delta(1, "{", "g", "t1"),
        TextChunk(text="d"),
        TextChunk(text="e"),
        delta(1, "}"),
    ]
    parts = parts_from(steps_of(chunks))
    assert [(part.kind, part.text) for part in parts] == [
        ("text", "ab"),
        ("tool_call", "{}"),
        ("text", "c"),
        ("tool_call", "{}"),
        ("text", "de"),
    ]


def test_a_name_and_an_id_that_come_late_are_kept() -> None:
    (part,) = parts_from(steps_of([delta(0, '{"a":'), delta(0, "1}", "f", "t0")]))
    assert (part.tool_id, part.name, part.arguments()) == ("t0", "f", {"a": 1})


def test_a_call_that_goes_on_after_its_end_is_malformed() -> None:
    chunks = [delta(0, "{}", "f", "t0"), delta(1, "{}", "g", "t1")]
    assert len(parts_from(steps_of([*chunks, delta(0, " \n")]))) == 2, "white space adds nothing"
    with pytest.raises(MalformedAnswerError, match="`f` went on after its end"):
        steps_of([*chunks, delta(0, "{}")])
