"""Reading OpenAI's streams: good ones come whole however they are cut, and hostile ones do no harm."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_replies import HOSTILE_JSON

from flowai.providers.openai.stream_parser import MAX_JSON_BYTES, ChatStreamParser, MalformedStreamError


def frame(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "c", "created": 1, "model": "m-1", "choices": choices, **fields}).encode()


LAST = frame({}, "stop")
USAGE = frame(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
DONE = b"data: [DONE]"


def stream(*lines: bytes, end: bytes = b"\n\n") -> bytes:
    return b"".join(line + end for line in lines)


def read(data: bytes, *, size: int | None = None, max_tokens: int | None = None) -> tuple[ChatStreamParser, list[Any]]:
    answer = ChatStreamParser(max_tokens=max_tokens)
    step = size or max(1, len(data))
    deltas = [delta for start in range(0, len(data), step) for delta in answer.feed(data[start : start + step])] + list(
        answer.end()
    )
    return answer, deltas


def read_whole(body: bytes) -> None:
    answer = ChatStreamParser()
    answer.parse_body(body)
    answer.check_complete()


def repeat(answer: ChatStreamParser, data: bytes, *, count: int) -> None:
    for _ in range(count):
        list(answer.feed(data))


GOOD = stream(
    b": hello", frame({"role": "assistant", "content": ""}), frame({"content": "grü"}), frame({"content": "ß"})
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\n"])
def test_a_stream_is_the_same_however_it_is_cut(size: int, end: bytes) -> None:
    data = (GOOD + stream(LAST, USAGE, DONE)).replace(b"\n\n", end)
    answer, deltas = read(data, size=size)
    assert [delta.text for delta in deltas] == ["grü", "ß"]
    answer.check_complete()
    assert answer.text == "grüß"
    assert answer.finish_reason == "stop"
    assert answer.usage == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert answer.served_model == "m-1"
    assert answer.is_done is True
    assert answer.malformed_count == 0


def test_the_end_marker_and_the_last_newline_may_be_missing() -> None:
    answer, _ = read(GOOD + LAST)
    assert answer.text == "grüß"
    assert answer.finish_reason == "stop"
    assert answer.is_done is False


def test_an_event_may_have_several_data_lines() -> None:
    lines = json.dumps(json.loads(frame({"content": "a"})[6:]), indent=1).encode().split(b"\n")
    answer, _ = read(b"\n".join(b"data: " + line for line in lines) + b"\n\n" + stream(LAST))
    assert answer.text == "a"
    assert answer.malformed_count == 0


@pytest.mark.parametrize(
    "torn", [b'data: {"choices": [{"del\n\n', b'data: {"choices": [{"del\n', b'data: {"choices": 5}\n\n']
)
def test_one_malformed_chunk_is_tolerated_and_counted_and_two_are_an_error(torn: bytes) -> None:
    answer, _ = read(GOOD + torn + stream(LAST))
    assert answer.text == "grüß"
    assert answer.malformed_count == 1
    assert answer.finish_reason == "stop"
    with pytest.raises(MalformedStreamError, match="2 chunks of the stream were not JSON"):
        read(torn + GOOD + torn + stream(LAST))


def test_other_events_and_empty_lines_are_ignored() -> None:
    answer, _ = read(b"event: x\nid: 1\nretry: 5\ndata: ping\n\ndata:\n\n" + GOOD + stream(LAST))
    assert answer.text == "grüß"
    assert answer.malformed_count == 0


def test_reasoning_counts_as_activity_and_not_as_text() -> None:
    answer, deltas = read(stream(frame({"reasoning_content": "hm"}), frame({"content": "a"}), LAST))
    assert [delta.text for delta in deltas] == ["", "a"]
    assert answer.text == "a"


def test_a_refusal_is_the_answer_s_text() -> None:
    answer, deltas = read(stream(frame({"refusal": "I will "}), frame({"refusal": "not."}), LAST))
    assert "".join(delta.text for delta in deltas) == answer.text == "I will not."


def test_tool_calls_are_assembled() -> None:
    first = {"index": 0, "id": "t1", "type": "function", "function": {"name": "look", "arguments": ""}}
    second = {"index": 1, "id": "t2", "type": "function", "function": {"name": "go", "arguments": "{}"}}
    rest = {"index": 0, "function": {"arguments": '{"up": 1}'}}
    answer, deltas = read(
        stream(frame({"tool_calls": [first]}), frame({"tool_calls": [second, rest]}), frame({}, "tool_calls"))
    )
    assert [call for delta in deltas for call in delta.tool_calls] == [first, second, rest]
    answer.check_complete()
    assert answer.text == ""
    assert [(call["id"], call["function"]) for call in answer.tool_calls] == [
        ("t1", {"name": "look", "arguments": '{"up": 1}'}),
        ("t2", {"name": "go", "arguments": "{}"}),
    ]


def test_tool_calls_without_an_index_or_with_objects_are_understood() -> None:
    one = {"id": "t1", "function": {"name": "look", "arguments": {"up": 1}}}
    two = {"id": "t2", "function": {"name": "go", "arguments": None}}
    answer, _ = read(stream(frame({"tool_calls": [one]}), frame({"tool_calls": [two, 5, {}]}), frame({}, "tool_calls")))
    assert [(call["id"], call["function"]["arguments"]) for call in answer.tool_calls] == [
        ("t1", '{"up":1}'),
        ("t2", ""),
    ]


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        ({"error": {"message": "busy", "code": 503}}, "busy"),
        ({"error": "busy"}, "busy"),
        ({"object": "error", "message": "busy"}, "busy"),
        ({"error": {"code": 1}}, "no reason given"),
    ],
)
def test_an_error_object_becomes_the_error_message(chunk: dict[str, Any], words: str) -> None:
    with pytest.raises(MalformedStreamError, match=words) as caught:
        read(GOOD + stream(b"data: " + json.dumps(chunk).encode()))
    assert caught.value.body


@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource"])
def test_a_finish_reason_of_an_error_is_no_answer(reason: str) -> None:
    with pytest.raises(MalformedStreamError, match="broke the answer off"):
        read(GOOD + stream(frame({}, reason)))


def test_without_a_finish_reason_there_is_no_answer() -> None:
    answer, _ = read(GOOD + stream(DONE))
    with pytest.raises(MalformedStreamError, match="no finish reason"):
        answer.check_complete()


@pytest.mark.parametrize(
    "delta",
    [{"content": "x"}, {"content": "x" * 1000}, {"refusal": "x"}, {"tool_calls": [{"id": "t"}]}],
)
def test_an_answer_far_above_max_tokens_is_an_error(delta: dict[str, Any]) -> None:
    with pytest.raises(MalformedStreamError, match="does not end"):
        repeat(ChatStreamParser(max_tokens=10), stream(frame(delta)), count=5000)


def test_an_endless_line_is_an_error() -> None:
    with pytest.raises(MalformedStreamError, match="a line of the stream is longer"):
        repeat(ChatStreamParser(), b"x" * 65536, count=MAX_JSON_BYTES // 65536 + 2)


def test_an_endless_event_is_an_error() -> None:
    with pytest.raises(MalformedStreamError, match="a chunk of the stream is longer"):
        repeat(ChatStreamParser(), b"data: {\n" * 10_000, count=20)


@pytest.mark.parametrize("data", HOSTILE_JSON)
def test_a_hostile_chunk_is_ignored_or_an_error(data: bytes) -> None:
    try:
        answer, _ = read(stream(b"data: " + data, frame({"content": "a"}), LAST))
    except MalformedStreamError:  # the provider's own error, hostile as it may be
        return
    assert answer.text == "a"
    assert answer.usage is None


@pytest.mark.parametrize("data", [*HOSTILE_JSON, b"[]", b"{}", b"{", b'"x"'])
def test_a_hostile_complete_answer_is_an_error(data: bytes) -> None:
    with pytest.raises(MalformedStreamError):
        read_whole(data)


@given(st.binary(), st.integers(1, 50))
def test_any_bytes_are_an_answer_or_an_error(data: bytes, size: int) -> None:
    try:
        answer, _ = read(data, size=size)
        answer.check_complete()
    except MalformedStreamError:
        pass


_NAMES = """choices delta message content tool_calls function arguments index id name usage finish_reason error object
code prompt_tokens prompt_tokens_details text model refusal"""
NAMES = st.sampled_from(_NAMES.split())
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("error")
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner), max_leaves=20)
CHUNKS = st.dictionaries(NAMES, VALUES) | st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"delta": st.dictionaries(NAMES, VALUES), "finish_reason": VALUES}))}
)


@pytest.mark.slow
@given(st.lists(CHUNKS, max_size=4))
def test_any_json_is_a_valid_answer_or_an_error(chunks: list[Any]) -> None:
    try:
        answer, deltas = read(stream(*(b"data: " + json.dumps(chunk).encode() for chunk in chunks)))
        answer.check_complete()
    except MalformedStreamError:
        return
    assert isinstance(answer.finish_reason, str)
    assert isinstance(answer.text, str)
    assert sum(len(delta.text) for delta in deltas) == len(answer.text)
    for call in answer.tool_calls:
        assert all(isinstance(text, str) for text in (call["id"], *call["function"].values()))


@given(st.lists(st.text(min_size=1, max_size=8), max_size=10), st.integers(1, 40))
def test_any_text_is_read_byte_for_byte(texts: list[str], size: int) -> None:
    data = stream(*(frame({"content": text}) for text in texts), LAST, USAGE, DONE)
    answer, deltas = read(data, size=size)
    assert [delta.text for delta in deltas] == texts
    answer.check_complete()
    assert answer.text == "".join(texts)
