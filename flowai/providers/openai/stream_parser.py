"""Reads what an OpenAI-compatible endpoint sends, as a stream or whole, and puts the answer together from it.

The bytes are hostile: whatever they hold, memory stays bounded and nothing but BrokenAnswerError comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.openai.tool_calls import ToolCalls, is_count, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 16 * 1024 * 1024
"""Longest answer, whatever was asked for."""
MAX_JSON_BYTES = 4 * 1024 * 1024
"""Longest line of a stream, and longest answer that is not streamed; parsed, hostile JSON takes 50 times its length."""
BYTES_PER_TOKEN = 256
"""Far above any real token, a piece's own weight included; with SPARE_BYTES the limit of an answer's length."""
SIZE_ALLOWANCE_BYTES = 64 * 1024
BYTES_PER_PIECE = 64
"""What every piece weighs beside its text, in memory and here: many small pieces are no way around the limit."""
MAX_MALFORMED_COUNT = 1
"""A torn chunk may be survived; with more the answer has holes nobody knows the size of."""
STREAM_TRUNCATED = frozenset(
    {"error", "network_error", "abort", "aborted", "cancelled", "insufficient_system_resource", "timeout"}
)
"""Finish reasons that mean the opposite of an answer; LiteLLM would call them `stop`."""

_USAGE = ("prompt_tokens", "completion_tokens", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens")
_USAGE_DETAILS = {
    "prompt_tokens_details": ("cached_tokens", "audio_tokens", "text_tokens", "image_tokens"),
    "completion_tokens_details": (
        "reasoning_tokens",
        "audio_tokens",
        "text_tokens",
        "accepted_prediction_tokens",
        "rejected_prediction_tokens",
    ),
}
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)  # ValueError: not UTF-8


class MalformedStreamError(Exception):
    """The bytes are no answer.

    Args:
        what: why, in our words; may quote the provider.
        body: the provider's error object, where it sent one.
    """

    def __init__(self, what: str, *, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.body = body


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """What one chunk adds. All empty: a sign of life (the model is reasoning)."""

    text: str = ""
    """For the reader."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """OpenAI's tool call deltas, each with its `index`."""


class _Message(msgspec.Struct):
    """A delta, or a whole message; every field may be of any kind."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None


class _Choice(msgspec.Struct):
    index: Any = 0
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    id: Any = None
    created: Any = None
    model: Any = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    object: Any = None


class ChatStreamParser:
    """An answer as far as it has come.

    Args:
        max_tokens: most tokens that were asked for; None when nothing limits them.
    """

    def __init__(self, *, max_tokens: int | None = None) -> None:
        self.finish_reason: str | None = None
        self.served_model: str | None = None
        self.malformed_count = 0
        self.is_done = False  # the end marker came
        self._most_bytes = MAX_BYTES
        if max_tokens is not None:
            self._most_bytes = min(MAX_BYTES, max_tokens * BYTES_PER_TOKEN + SIZE_ALLOWANCE_BYTES)
        self._weight_bytes = 0
        self._reasoning_bytes = 0
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._reasonings: list[str] = []
        self._tool_calls = ToolCalls()
        self._usage: dict[str, Any] | None = None
        self._id = ""
        self._created = 0
        self._rest = bytearray()  # the beginning of a line
        self._torn: list[bytes] = []  # data lines of one event that were no JSON by themselves
        self._torn_bytes = 0

    @property
    def text(self) -> str:
        """All text that was given to the reader."""
        return "".join(self._texts) + self.refusal

    @property
    def refusal(self) -> str:
        """What the model said instead of an answer."""
        return "".join(self._refusals)

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Take in the next bytes of a stream; give what they add.

        Raises:
            BrokenAnswerError: an error object, more than one torn chunk, or too long.
        """
        searched = len(self._rest)
        self._rest += data
        end = self._rest.rfind(b"\n", searched)
        if end < 0:
            if len(self._rest) > MAX_JSON_BYTES:
                raise MalformedStreamError(f"a line of the stream is longer than {MAX_JSON_BYTES:,} bytes")
            return
        lines = bytes(self._rest[:end])
        del self._rest[: end + 1]
        for line in lines.split(b"\n"):
            delta = self._line(line.rstrip(b"\r"))
            if delta is not None:
                yield delta

    def end(self) -> Iterator[Delta]:
        """Take in the end of a stream: its last line may lack its newline."""
        yield from self.feed(b"\n\n")

    def parse_body(self, body: bytes) -> None:
        """Take in an answer that was not streamed.

        Raises:
            BrokenAnswerError: it is no answer, or an error object.
        """
        try:
            msgspec.json.decode(body)
        except _UNREADABLE as error:
            raise MalformedStreamError(f"the answer is not JSON: {error}") from None
        try:
            chunk = _CHUNK.decode(body)
        except _UNREADABLE:
            raise MalformedStreamError("the answer is not what an OpenAI-compatible endpoint gives") from None
        self._chunk(chunk, body)
        if not chunk.choices:
            raise MalformedStreamError("the answer holds no choices")

    def as_json(self) -> bytes:
        """Give the answer as one `chat.completion`, as if it had never been streamed.

        Raises:
            BrokenAnswerError: the provider never said that it was finished, or said that it failed.
        """
        if self.finish_reason is None:
            torn = f"; {self.malformed_count} chunk was no JSON" if self.malformed_count else ""
            raise MalformedStreamError(f"the answer broke off: no finish reason came{torn}")
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts)}
        if self._tool_calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = self._tool_calls.as_json()
        if self._refusals:
            message["refusal"] = self.refusal
        if self._reasonings:
            message["reasoning_content"] = "".join(self._reasonings)
        answer: dict[str, Any] = {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created,
            "model": self.served_model or "",
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason}],
        }
        if self._usage is not None:
            answer["usage"] = self._usage
        return msgspec.json.encode(answer)

    def _line(self, line: bytes) -> Delta | None:
        """Take in one line. An event of one data line, as all servers send it, need not wait for its blank line."""
        if not line:
            return self._partial_event() if self._torn else None
        if not line.startswith(b"data:"):
            return None  # a comment, which keeps the connection alive, or a field we do not need
        data = line[5:].strip()
        if data == b"[DONE]":
            self.is_done = True
        elif self._torn or data.startswith(b"{"):
            return self._data(data)
        return None

    def _data(self, data: bytes) -> Delta | None:
        try:
            chunk = _CHUNK.decode(data)
        except _UNREADABLE:
            self._torn.append(data)  # perhaps the event goes on in its next line
            self._torn_bytes += len(data) + BYTES_PER_PIECE
            if self._torn_bytes > MAX_JSON_BYTES:
                raise MalformedStreamError(f"a chunk of the stream is longer than {MAX_JSON_BYTES:,} bytes") from None
            return None
        if self._torn:
            self._malformed()
        return self._chunk(chunk, data)

    def _partial_event(self) -> Delta | None:
        data = b"\n".join(self._torn)
        try:
            chunk = _CHUNK.decode(data)
        except _UNREADABLE:
            self._malformed()
            return None
        self._torn, self._torn_bytes = [], 0
        return self._chunk(chunk, data)

    def _malformed(self) -> None:
        self._torn, self._torn_bytes = [], 0
        self.malformed_count += 1
        if self.malformed_count > MAX_MALFORMED_COUNT:
            raise MalformedStreamError(f"{self.malformed_count} chunks of the stream were no JSON")

    def _chunk(self, chunk: _Chunk, data: bytes) -> Delta | None:
        if chunk.error or chunk.object == "error":
            raise _error_in_chunk(data)
        if isinstance(chunk.model, str) and chunk.model:
            self.served_model = chunk.model
        if isinstance(chunk.id, str):
            self._id = chunk.id
        if is_count(chunk.created):
            self._created = chunk.created
        self._usage = _figures(chunk.usage) or self._usage
        for choice in chunk.choices or ():
            if choice.index in (0, None):
                return self._choice(choice)
        return None

    def _choice(self, choice: _Choice) -> Delta | None:
        message = choice.delta or choice.message
        delta = None if message is None else self._message(message)
        if isinstance(choice.finish_reason, str) and choice.finish_reason:
            self.finish_reason = choice.finish_reason
            if choice.finish_reason.lower() in STREAM_TRUNCATED:
                raise MalformedStreamError(f"the provider broke the answer off (`{choice.finish_reason}`)")
        return delta

    def _message(self, message: _Message) -> Delta | None:
        text, refusal = text_of(message.content), text_of(message.refusal)
        reasoning = text_of(message.reasoning_content) or text_of(message.reasoning)
        calls = self._tool_calls.add(message.tool_calls)
        if not (text or refusal or reasoning or calls):
            return None
        if text:
            self._texts.append(text)
        if refusal:
            self._refusals.append(refusal)
        if reasoning:
            self._reasonings.append(reasoning)
        self._check_size(text + refusal, reasoning, calls)
        return Delta(text=text + refusal, tool_calls=calls)

    def _check_size(self, text: str, reasoning: str, calls: tuple[dict[str, Any], ...]) -> None:
        if text or calls:
            arguments = sum(len(call["function"]["arguments"]) for call in calls)
            self._weight_bytes += len(text) + arguments + BYTES_PER_PIECE * (1 + len(calls))
        if reasoning:  # what is asked for does not limit it everywhere
            self._reasoning_bytes += len(reasoning) + BYTES_PER_PIECE
        if self._weight_bytes > self._most_bytes or self._reasoning_bytes > MAX_BYTES:
            raise MalformedStreamError(f"the answer does not end: more than {self._most_bytes:,} bytes came")


def _figures(usage: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JSON is anything
    """Keep the token counts of a usage object, and their details; None where it has none that can be right."""
    if not isinstance(usage, dict):
        return None
    kept: dict[str, Any] = {key: usage[key] for key in _USAGE if is_count(usage.get(key))}
    if "prompt_tokens" not in kept:
        return None
    kept.setdefault("completion_tokens", 0)
    kept["total_tokens"] = kept["prompt_tokens"] + kept["completion_tokens"]
    for key, names in _USAGE_DETAILS.items():
        details = usage.get(key)
        if isinstance(details, dict):
            kept[key] = {name: details[name] for name in names if is_count(details.get(name))}
    return kept


def _error_in_chunk(data: bytes) -> MalformedStreamError:
    """Read the provider's error object: under `error`, as a mere text there, or the whole chunk."""
    try:
        said = msgspec.json.decode(data)
    except _UNREADABLE:
        said = {}
    error = said.get("error") or said
    body = error if isinstance(error, dict) else {"message": str(error)}
    message = body.get("message")
    return MalformedStreamError(message if isinstance(message, str) and message else "no reason given", body=body)


_CHUNK = msgspec.json.Decoder(_Chunk)
