"""Chat messages that may be sent: roles, content parts, tool calls and addresses of media.

Every request is checked before a model is called. Providers and LiteLLM refuse wrong messages in many ways, some of
them like failures of their own, and LiteLLM fetches what some messages name. Keys that are not listed are forwarded.

Source: OpenAI API reference, Create chat completion. `video_url` is a part of vLLM's and other servers' protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from flowai.errors import InvalidMessagesError, expected_one_of
from flowai.storage.record_errors import record_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ADDRESS_PATTERN = "^(?:https?://[^/ ]|data:[^,]*;base64,)"  # no `\\S`: engines differ about white space
MediaAddress = Annotated[str, Meta(pattern=_ADDRESS_PATTERN)]
"""Address of an image or a video: on the web, or a `data:` URL in base64."""
FileId = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,256}$")]
"""Id of a stored file, no address.

LiteLLM fetches the files of web addresses, and reads Google's buckets with the project's own account.
"""


class ChatText(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """A text."""

    text: str
    """The text."""
    cache_control: dict[str, Any] | None = None
    """End of a prefix that Anthropic may cache."""


class ImageReference(msgspec.Struct, frozen=True, kw_only=True):
    """Address of an image, and how to see it."""

    url: MediaAddress
    """Web address, which the provider reads, or a `data:` URL in base64."""
    detail: str | None = None
    """Resolution in which the model sees it: `low`, `high`, `auto`."""
    format: str | None = None
    """Media type; wins over the address's own."""


class ChatImage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageReference | MediaAddress
    """The image."""
    cache_control: dict[str, Any] | None = None
    """End of a prefix that Anthropic may cache."""


class AudioData(msgspec.Struct, frozen=True, kw_only=True):
    """A recording in the request."""

    data: Annotated[str, Meta(min_length=1)]
    """The recording, base64."""
    format: Annotated[str, Meta(pattern="^[A-Za-z0-9./+_-]{1,64}$")]
    """`wav`, `mp3`, or another that the provider knows."""


class ChatAudio(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="input_audio"):
    """A recording."""

    input_audio: AudioData
    """The recording."""


class FileReference(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the request, or one that the provider stores: exactly one of `file_data` and `file_id`."""

    file_data: Annotated[str, Meta(pattern="^data:[^,]*;base64,")] | None = None
    """The file as a `data:` URL in base64."""
    file_id: FileId | None = None
    """The provider's id of the file."""
    filename: str | None = None
    """Name of the file."""
    format: str | None = None
    """Media type; wins over the address's own."""

    def __post_init__(self) -> None:
        """Check that there is exactly one source."""
        if (self.file_data is None) == (self.file_id is None):
            raise ValueError("expected exactly one of `file_data` and `file_id`")


class ChatFile(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="file"):
    """A file."""

    file: FileReference
    """The file."""
    cache_control: dict[str, Any] | None = None
    """End of a prefix that Anthropic may cache."""


class VideoReference(msgspec.Struct, frozen=True, kw_only=True):
    """Address of a video."""

    url: MediaAddress
    """Web address, which the provider reads, or a `data:` URL in base64."""


class ChatVideo(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="video_url"):
    """A video."""

    video_url: VideoReference
    """The video."""


class ChatRefusal(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    """A refusal of the model."""

    refusal: str
    """The text."""


class CalledFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A function with its arguments."""

    name: Annotated[str, Meta(min_length=1)]
    """Name of the function."""
    arguments: str
    """Arguments, a JSON object as text."""


class ChatToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """The model's call of a function."""

    id: Annotated[str, Meta(min_length=1)]
    """Connects it with its result."""
    type: Literal["function"]
    """Always `function`."""
    function: CalledFunction
    """The function."""


Texts = Annotated[list[ChatText], Meta(min_length=1)]


class SystemMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="system"):
    """The operator's instructions."""

    content: str | Texts
    """Text, or text parts."""
    name: str | None = None
    """Name of the author."""


class DeveloperMessage(SystemMessage, frozen=True, kw_only=True, tag_field="role", tag="developer"):
    """The operator's instructions, by OpenAI's newer name."""


class UserMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="user"):
    """The user's message."""

    content: str | Annotated[list[ChatText | ChatImage | ChatAudio | ChatFile | ChatVideo], Meta(min_length=1)]
    """Text, or parts."""
    name: str | None = None
    """Name of the author."""


class AssistantMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="assistant"):
    """The model's message; it has content, tool calls or a refusal."""

    content: str | Annotated[list[ChatText | ChatRefusal], Meta(min_length=1)] | None = None
    """Text, or parts; null if it only calls tools."""
    tool_calls: list[ChatToolCall] | None = None
    """Calls of tools."""
    refusal: str | None = None
    """A refusal instead of content."""
    name: str | None = None
    """Name of the author."""
    reasoning_content: str | None = None
    """The model's thoughts, for providers that want them back."""
    thinking_blocks: list[dict[str, Any]] | None = None
    """Anthropic's thinking blocks, signed."""

    def __post_init__(self) -> None:
        """Check that there is something in the message."""
        if self.content is None and not self.tool_calls and self.refusal is None:
            raise ValueError("expected `content`, `tool_calls` or `refusal`")


class ToolMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="tool"):
    """The result of a tool call."""

    tool_call_id: Annotated[str, Meta(min_length=1)]
    """Id of the call."""
    content: str | Annotated[list[ChatText | ChatImage | ChatFile], Meta(min_length=1)]
    """Text, or parts."""
    name: str | None = None
    """Name of the function."""


ChatMessageRecord = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage

_TYPES: Mapping[str, tuple[str, ...]] = {
    "system": ("text",),
    "developer": ("text",),
    "user": ("text", "image_url", "input_audio", "file", "video_url"),
    "assistant": ("text", "refusal"),
    "tool": ("text", "image_url", "file"),
}
"""Types of content parts by role."""
_TRANSLATED = {
    "input_text": "text",
    "output_text": "text",
    "input_image": "image_url",
    "input_file": "file",
    "image": "image_url",
    "document": "file",
    "tool_use": "tool_calls",
    "tool_result": "tool",
    "function_call": "tool_calls",
    "function_call_output": "tool",
}
"""Types of OpenAI's Responses API and of Anthropic's Messages API, and what they are called in a chat."""
_PLAIN_KEYS = {"role", "content"}
_PLAIN_ROLES = ("system", "developer", "user", "assistant")
_ELSEWHERE = {
    "tool": "in a chat, the result of a tool is a message of its own, with the role `tool`",
    "tool_calls": "in a chat, calls of tools are in the assistant's `tool_calls`",
}


def check_messages(messages: Sequence[Any], *, path: str = "messages") -> None:
    """Check messages in OpenAI's chat format.

    Args:
        messages: the messages.
        path: their name in errors.

    Raises:
        InvalidMessagesError: a message cannot be sent; with its place (`messages.0.content.1.type`).
    """
    if all(map(_is_plain, messages)):
        return
    try:
        msgspec.convert(messages, tuple[ChatMessageRecord, ...])
    except msgspec.ValidationError as error:
        _raise_wrong_type(messages, path)
        kind, where, what = record_problem(str(error))
        place = f"{path}.{where}" if where else path
        if place.endswith(".role") and "invalid value" in what:
            what += f"; {expected_one_of(_TYPES)}"
        elif _ADDRESS_PATTERN[:12] in what:  # msgspec escapes the rest
            what = "expected a web address (https:, http:) or a `data:` URL in base64"
        text = f"`{place}` is missing" if kind == "missing" else f"`{place}`: {what}"
        raise InvalidMessagesError(text, param=place) from None
    except (RecursionError, ValueError) as error:  # values of Python that are no JSON
        raise InvalidMessagesError(f"`{path}`: {type(error).__name__}: {error}", param=path) from None


def _is_plain(message: object) -> bool:
    """Return whether a message is a text and its author: most are, and a look is enough."""
    return (
        type(message) is dict
        and message.keys() == _PLAIN_KEYS
        and type(message["content"]) is str
        and message["role"] in _PLAIN_ROLES
    )


def _raise_wrong_type(messages: Sequence[Any], path: str) -> None:
    """Raise if a content part has a type that its role does not allow, with the types that it does."""
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        expected = _TYPES.get(role) if isinstance(role, str) else None
        if expected is None or not isinstance(content, list | tuple):
            continue
        for number, part in enumerate(content):
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind not in expected:
                place = f"{path}.{index}.content.{number}.type"
                text = f"`{place}`: found `{kind[:64]}` in a message of the role `{role}`; {expected_one_of(expected)}"
                raise InvalidMessagesError(text + _translation(kind), param=place)


def _translation(kind: str) -> str:
    """Return what a type of another protocol is called in a chat; empty for an unknown type."""
    name = _TRANSLATED.get(kind)
    return "" if name is None else "; " + _ELSEWHERE.get(name, f"`{kind}` is called `{name}` in a chat")
