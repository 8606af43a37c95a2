"""The parser of Anthropic's streams: any split of the bytes, any value of a field, answers without end."""

from __future__ import annotations

import contextlib
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from support.anthropic_answers import (
    ANSWERS,
    GOOD,
    STREAM,
    block_delta,
    block_start,
    end,
    frames,
    start,
    text,
    thinking,
    tool,
)

from flowai.providers.anthropic.stream_parser import MessagesStreamParser
from flowai.providers.openai.stream_parser import MAX_BYTES, MAX_JSON_BYTES, Delta, MalformedStreamError

if TYPE_CHECKING:
    from collections.abc import Iterator


def read(body: bytes, sizes: Iterator[int]) -> tuple[Any, ...]:
    """Parse a body in pieces of these sizes, and return everything that came of it."""
    parser = MessagesStreamParser()
    deltas: list[Delta] = []
    position = 0
    try:
        while position < len(body):
            size = next(sizes)
            deltas += parser.feed(body[position : position + size])
            position += size
        deltas += parser.end()
    except MalformedStreamError as error:
        return "".join(delta.text for delta in deltas), error.what
    return parser.text, parser.tool_calls, parser.finish_reason, parser.usage, parser.is_done


def test_how_the_bytes_are_split_changes_nothing() -> None:
    rng = random.Random(7)  # noqa: S311 - samples
    bodies = [reply.body for reply in ANSWERS.values() if reply.content_type == STREAM and reply.body is not None]
    assert len(bodies) > 100
    for body in bodies:
        if len(body) > 50_000:
            continue
        whole = read(body, iter([len(body)]))
        assert read(body, iter([1] * len(body))) == whole
        assert read(body, iter(rng.randint(1, 40) for _ in body)) == whole


def test_line_ends_and_a_byte_order_mark_change_nothing() -> None:
    whole = read(GOOD, iter([len(GOOD)]))
    for body in (GOOD.replace(b"\n", b"\r\n"), GOOD.replace(b"\n", b"\r"), b"\xef\xbb\xbf" + GOOD):
        assert read(body, iter([1] * len(body))) == whole


ENDLESS: dict[str, tuple[bytes, bytes, int]] = {
    "text": (b"", frames([block_delta({"type": "text_delta", "text": "x" * 1000})]), MAX_BYTES),
    "small pieces": (b"", frames([block_delta({"type": "text_delta", "text": "x"})]) * 100, MAX_BYTES),
    "thinking": (b"", frames([block_delta({"type": "thinking_delta", "thinking": "x" * 1000})]), MAX_BYTES),
    "calls": (b"", frames([block_start({"type": "tool_use", "id": "x", "name": "y"})]) * 100, MAX_BYTES),
    "arguments": (
        frames([block_start({"type": "tool_use", "id": "x", "name": "y"})]),
        frames([block_delta({"type": "input_json_delta", "partial_json": "1" * 1000})]),
        MAX_BYTES,
    ),
    "a line": (b"data: ", b"x" * 1000, MAX_JSON_BYTES),
    "lines of one event": (b"", b"data: {\n" * 100, MAX_JSON_BYTES),
}


def feed_often(parser: MessagesStreamParser, piece: bytes, count_bytes: int) -> None:
    for _ in range(count_bytes // len(piece)):
        list(parser.feed(piece))


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_answer_is_refused(name: str) -> None:
    head, piece, limit_bytes = ENDLESS[name]
    parser = MessagesStreamParser()
    list(parser.feed(head))
    with pytest.raises(MalformedStreamError, match=r"longer than|does not end"):
        feed_often(parser, piece, 20 * limit_bytes)


def test_the_token_limit_of_the_request_bounds_the_answer() -> None:
    parser = MessagesStreamParser(max_tokens=10)
    body = frames([start(), *text(*["x" * 1000] * 100)])
    with pytest.raises(MalformedStreamError, match="does not end"):
        list(parser.feed(body))


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, True, 1.5, [{"a": 1}], {"type": "text"}, {"text": {}}])
def test_fields_of_any_type_are_survived(value: Any) -> None:
    events = [start(value), start(model=value), *tool("{}", id=value, name=value), *thinking("x"), *text("a")]
    fields: tuple[str, ...] = ("message", "content_block", "delta", "usage", "index")
    kinds = ("message_start", "content_block_start", "content_block_delta", "message_delta", value)
    events += [{"type": kind} | dict.fromkeys(fields, value) for kind in kinds]
    fields = ("text", "partial_json", "thinking")
    kinds = ("text_delta", "input_json_delta", "thinking_delta", "signature_delta", value)
    events += [block_delta({"type": kind} | dict.fromkeys(fields, value)) for kind in kinds]
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in [*events, *end()])
    parser = MessagesStreamParser()
    list(parser.feed(body))
    assert parser.text.startswith("a")
    assert parser.finish_reason == "stop"
    with contextlib.suppress(MalformedStreamError):
        MessagesStreamParser().parse_body(json.dumps({"type": "message", "content": value, "usage": value}).encode())


def test_damaged_streams_fail_in_one_way() -> None:
    rng = random.Random(5)  # noqa: S311 - samples
    bodies = [body for reply in ANSWERS.values() if (body := reply.body) and len(body) < 5_000]
    for _ in range(3_000):
        damaged = bytearray(rng.choice(bodies))
        for _ in range(rng.randint(1, 4)):
            position = rng.randrange(len(damaged))
            damaged[position : position + rng.randint(0, 9)] = rng.choice(
                (b"", b"\xff", b'"', b"}", b"\n", b"null", b"\\ud800")
            )
        read(bytes(damaged), iter(rng.randint(1, 90) for _ in damaged))
        with contextlib.suppress(MalformedStreamError):
            MessagesStreamParser().parse_body(bytes(damaged))
