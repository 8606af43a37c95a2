"""A torn stream is never read as a whole one: each text comes as it was sent, or the answer fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.providers.openai.stream_parser import ChatStreamParser, MalformedStreamError
from flowai.providers.openai.tool_calls import repaired_calls, tool_call_problem


def frame(delta: dict[str, Any], finish: str | None = None) -> bytes:
    chunk = {"id": "c", "model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(chunk).encode()


LAST = frame({}, "stop")


def read(data: bytes, size: int = 10_000) -> ChatStreamParser:
    answer = ChatStreamParser()
    for start in range(0, len(data), size):
        list(answer.feed(data[start : start + size]))
    list(answer.end())
    return answer


def stream(*lines: bytes, end: bytes = b"\n\n") -> bytes:
    return b"".join(line + end for line in lines)


LIFT = [frame({"content": text}) for text in ("The lift", " is", " not", " broken.")]


@given(st.integers(0, 3), st.data())
def test_a_chunk_cut_anywhere_fails_the_answer_or_had_no_text(at: int, data: st.DataObject) -> None:
    whole = LIFT[at]
    cut = data.draw(st.integers(len(b"data: {"), len(whole) - 1))
    try:
        answer = read(stream(*LIFT[:at], whole[:cut], *LIFT[at + 1 :], LAST))
    except MalformedStreamError:
        return
    assert b'"content": "' not in whole[:cut]
    assert answer.malformed_count == 1


@given(st.integers(0, 3), st.data())
def test_a_chunk_without_its_beginning_fails_the_answer(at: int, data: st.DataObject) -> None:
    whole = LIFT[at]
    cut = data.draw(st.integers(len(b"data: {"), whole.index(b'"content": "') + len(b'"content": "')))
    for torn in (whole[cut:], b"data: " + whole[cut:]):
        with pytest.raises(MalformedStreamError, match="torn"):
            read(stream(*LIFT[:at], torn, *LIFT[at + 1 :], LAST))


@pytest.mark.parametrize(
    "torn",
    [
        b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}',
        b'data: {"choices": [{"delta": {"content": "a"}}, 5]}',
        b'data: {"choices": [{"delta": {"refusal": "I wi',
        b'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{',
        b'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "lo',
        b'data: {"choices": [{"delta": {"content": "',
    ],
)
def test_a_chunk_whose_text_is_lost_fails_the_answer(torn: bytes) -> None:
    with pytest.raises(MalformedStreamError):
        read(stream(LIFT[0], torn, LIFT[3], LAST))


@pytest.mark.parametrize(
    "torn",
    [
        b"data: {",
        b'data: {"id": "c", "choices": [{"index": 0, "del',
        b'data: {"choices": [{"delta": {"content": ""}, "fin',
        b'data: {"choices": [{"delta": {"content": null, "role": "assis',
        b'data: {"choices": [], "usage": {"prompt_tokens": 3',
    ],
)
def test_an_empty_torn_chunk_is_survived(torn: bytes) -> None:
    answer = read(stream(LIFT[0], torn, LIFT[3], LAST))
    assert answer.text == "The lift broken."
    assert answer.malformed_count == 1


@pytest.mark.parametrize("size", [1, 2, 3, 5, 10_000])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\r"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_line_ends_a_byte_order_mark_and_any_reads_change_nothing(size: int, end: bytes, start: bytes) -> None:
    data = start + stream(b": hello", b"event: x", frame({"content": "grü\U0001f600"}), LAST, b"data: [DONE]", end=end)
    answer = read(data.replace(b"\\u00fc", "ü".encode()), size)
    assert answer.text == "grü\U0001f600"
    assert answer.is_done
    assert answer.malformed_count == 0


@given(st.text(alphabet="a\U0001f600\U0001f468\u200dß", max_size=12), st.lists(st.integers(1, 3), max_size=20))
def test_a_text_cut_between_the_halves_of_characters_is_joined(text: str, sizes: list[int]) -> None:
    halves = text.encode("utf-16-le")
    pieces, at = [], 0
    for size in [*sizes, len(halves)]:
        pieces.append(halves[at : at + 2 * size].decode("utf-16-le", "surrogatepass"))
        at += 2 * size
    answer = read(stream(*(frame({"content": piece}) for piece in pieces), LAST))
    assert answer.text == text
    arguments = read(stream(*(_call(piece) for piece in pieces), LAST))
    assert arguments.finish_reason == "stop"


def _call(arguments: str) -> bytes:
    return frame({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "look", "arguments": arguments}}]})


@pytest.mark.parametrize("pieces", [("\ud83d", "a"), ("\ude00",), ("a\ud83d", "\ud83d\ude00"), ("\ud83da",)])
def test_half_of_a_character_fails_the_answer(pieces: tuple[str, ...]) -> None:
    for make in (lambda piece: frame({"content": piece}), _call):
        with pytest.raises(MalformedStreamError, match="half of a character"):
            read(stream(*map(make, pieces), LAST))


def test_a_bare_error_object_in_a_stream_is_the_error() -> None:
    with pytest.raises(MalformedStreamError, match="busy"):
        read(stream(LIFT[0], b'{"error": {"message": "busy"}}', LAST))


def test_the_finish_reason_is_openai_s_and_the_worse_of_two() -> None:
    answer = read(stream(LIFT[0], frame({}, "MAX_TOKENS"), LAST))
    assert answer.finish_reason == "length"


def test_two_tool_calls_under_one_index_fail_the_answer() -> None:
    calls = [{"index": 0, "id": name, "function": {"name": "look", "arguments": "{}"}} for name in ("t1", "t2")]
    with pytest.raises(MalformedStreamError, match="under one index"):
        read(stream(*(frame({"tool_calls": [call]}) for call in calls), frame({}, "tool_calls")))


def test_an_id_that_is_repeated_with_each_piece_is_one_call() -> None:
    calls = [{"index": 0, "id": "t1", "function": {"name": "look", "arguments": text}} for text in ('{"a"', ": 1}")]
    answer = read(stream(*(frame({"tool_calls": [call]}) for call in calls), frame({}, "tool_calls")))
    assert answer.finish_reason == "tool_calls"


def call(name: Any = "look", arguments: Any = "{}") -> dict[str, Any]:
    return {"id": "t", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize("arguments", ['{"at": ', "[]", '"x"', "5", "null", "{}{}", "{'a': 1}", "[" * 100_000])
def test_arguments_that_are_no_json_object_are_a_problem(arguments: str) -> None:
    assert tool_call_problem([call(arguments=arguments)], "tool_calls") == (
        "the arguments of tool call 1 of 1 are not a JSON object"
    )


@pytest.mark.parametrize("name", ["", None, 5 * [""] and []])
def test_a_call_without_a_name_is_a_problem(name: Any) -> None:
    assert tool_call_problem([call(), call(name=name)], "stop") == "tool call 2 of 2 has no name"


def test_tool_calls_that_were_announced_must_come() -> None:
    assert tool_call_problem([], "tool_calls") == "the answer ended with `tool_calls`, but no tool call came"
    assert tool_call_problem([], "stop") is None


def test_empty_arguments_are_an_empty_object() -> None:
    whole = (call(),)
    assert repaired_calls(whole) is whole
    assert repaired_calls((call(arguments=""), call(arguments=" \n"))) == (call(), call())
