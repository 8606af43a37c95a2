"""Chat messages are checked before any model is called; an error names the place."""

from __future__ import annotations

from typing import Any

import pytest
from support.mutated_bodies import CALL, CHAT_PARTS, MESSAGES_PARTS, PDF, PIXEL, RESPONSES_PARTS

from flowai.errors import InvalidMessagesError
from flowai.providers.openai.chat_messages import check_messages

Message = dict[str, Any]


def user(*parts: Any) -> Message:
    return {"role": "user", "content": list(parts)}


def image(url: Any) -> Message:
    return user({"type": "image_url", "image_url": {"url": url}})


def file(**fields: Any) -> Message:
    return user({"type": "file", "file": fields})


GOOD: list[list[Message]] = [
    [{"role": role, "content": "hello", "name": "ann"}] for role in ("system", "developer", "user", "assistant")
]
GOOD += [[user(part)] for part in CHAT_PARTS[:-1]]
GOOD += [
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "t1", "content": ""},
    ],
    [{"role": "assistant", "tool_calls": [CALL], "content": "so", "anything": {"else": 1}}],
    [{"role": "assistant", "content": [CHAT_PARTS[-1]]}, {"role": "assistant", "refusal": "no"}],
    [{"role": "tool", "tool_call_id": "t1", "content": [CHAT_PARTS[0], CHAT_PARTS[1]]}],
    [user({"type": "text", "text": "", "cache_control": {"type": "ephemeral"}})],
    [file(file_data=PDF)],
]


@pytest.mark.parametrize("messages", GOOD, ids=repr)
def test_messages_of_every_kind_are_accepted(messages: list[Message]) -> None:
    check_messages(messages)
    check_messages(tuple(messages))


BAD: list[tuple[Any, str, str]] = [
    (user(RESPONSES_PARTS[0]), "content.0.type", "`input_text` is called `text` in a chat"),
    (user(CHAT_PARTS[0], RESPONSES_PARTS[1]), "content.1.type", "`input_image` is called `image_url` in a chat"),
    (user(MESSAGES_PARTS[3]), "content.0.type", "`document` is called `file` in a chat"),
    (user(MESSAGES_PARTS[6]), "content.0.type", "a message of its own, with the role `tool`"),
    (user(MESSAGES_PARTS[5]), "content.0.type", "the assistant's `tool_calls`"),
    (user({"type": "hologram"}), "content.0.type", "there are: `file`, `image_url`, `input_audio`, `text`"),
    ({"role": "system", "content": [CHAT_PARTS[1]]}, "content.0.type", "in a message of the role `system`"),
    ({"role": "assistant", "content": [CHAT_PARTS[1]]}, "content.0.type", "there are: `refusal`, `text`"),
    (user({}), "content.0.type", "is missing"),
    (user({"type": ["text"]}), "content.0.type", "expected `str`, got `list`"),
    (user({"type": "text"}), "content.0.text", "is missing"),
    (user({"type": "text", "text": 7}), "content.0.text", "expected `str`, got `int`"),
    (user(None), "content.0", "expected `object`, got `null`"),
    (user("text"), "content.0", "expected `object`, got `str`"),
    (user(), "content", "length >= 1"),
    ({"role": "user", "content": None}, "content", "got `null`"),
    ({"role": "user"}, "content", "is missing"),
    ({"role": "robot", "content": "x"}, "role", "there are: `assistant`"),
    ({"role": 1, "content": "x"}, "role", "expected `str`"),
    ({"content": "x"}, "role", "is missing"),
    (image(5), "content.0.image_url.url", "expected `str`, got `int`"),
    *(
        (image(url), "content.0.image_url.url", "expected a web address (https:, http:) or a `data:` URL in base64")
        for url in ("", "file:///etc/passwd", "gs://bucket/a", "data:image/png,x", "ftp://a/b", "a.png", "http://")
    ),
    (user({"type": "image_url", "image_url": None}), "content.0.image_url", "got `null`"),
    (user({"type": "input_audio", "input_audio": {"data": "x"}}), "content.0.input_audio.format", "is missing"),
    (user({"type": "video_url", "video_url": PIXEL}), "content.0.video_url", "expected `object`"),
    (file(), "content.0.file", "exactly one of `file_data` and `file_id`"),
    (file(file_id="f", file_data=PDF), "content.0.file", "exactly one"),
    (file(file_id="https://a/b.pdf"), "content.0.file.file_id", "expected `str` matching"),
    (file(file_id="www.a/b.pdf"), "content.0.file.file_id", "expected `str` matching"),
    (file(file_data="https://a/b.pdf"), "content.0.file.file_data", "expected `str` matching"),
    ({"role": "tool", "content": "x"}, "tool_call_id", "is missing"),
    ({"role": "tool", "content": "x", "tool_call_id": ""}, "tool_call_id", "length >= 1"),
    ({"role": "assistant"}, "", "expected `content`, `tool_calls` or `refusal`"),
    ({"role": "assistant", "content": None, "tool_calls": []}, "", "expected `content`, `tool_calls` or `refusal`"),
    ({"role": "assistant", "tool_calls": {}}, "tool_calls", "expected `array | null`"),
    ({"role": "assistant", "tool_calls": [CALL | {"type": "custom"}]}, "tool_calls.0.type", "invalid enum value"),
    ({"role": "assistant", "tool_calls": [CALL | {"id": None}]}, "tool_calls.0.id", "got `null`"),
    (
        {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": {}}}]},
        "tool_calls.0.function.arguments",
        "expected `str`, got `object`",
    ),
    ("hello", "", "expected `object`, got `str`"),
]


@pytest.mark.parametrize(("message", "place", "what"), BAD, ids=[f"{n}-{row[1]}" for n, row in enumerate(BAD)])
def test_a_message_that_cannot_be_sent_is_refused_with_its_place(message: Any, place: str, what: str) -> None:
    with pytest.raises(InvalidMessagesError) as caught:
        check_messages([{"role": "user", "content": "first"}, message])
    assert caught.value.param == f"messages.1.{place}".rstrip(".")
    assert f"`{caught.value.param}`" in str(caught.value)
    assert what in str(caught.value)
