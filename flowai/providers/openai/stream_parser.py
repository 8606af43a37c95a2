"""Parses the answer of an OpenAI-compatible endpoint, streamed or not.

The bytes are untrusted: memory stays bounded, and MalformedStreamError is the only exception.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.finish_reasons import MODEL_FAILURES, finish_kind, normalised_reason, worse_reason
from flowai.providers.openai.characters import CharacterJoiner
from flowai.providers.openai.tool_calls import ToolCalls, is_count, text_of, tool_call_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 16 * 1024 * 1024
"""Longest answer, whatever limit the request has."""
MAX_JSON_BYTES = 4 * 1024 * 1024
"""Longest line of a stream, and longest unstreamed answer; parsed, hostile JSON takes 50 times its length."""
BYTES_PER_TOKEN = 256
"""Far more than any real token; with SIZE_ALLOWANCE_BYTES the limit of an answer's length."""
SIZE_ALLOWANCE_BYTES = 64 * 1024
BYTES_PER_PIECE = 64
"""Overhead counted for each piece, so that many small pieces cannot evade the limit."""
MAX_MALFORMED_COUNT = 1
"""With more malformed chunks, an unknown part of the answer is missing; so it is with one that contains a text."""
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
BOM = b"\xef\xbb\xbf"
_SSE_FIELDS = frozenset({b"", b"data", b"event", b"id", b"retry"})  # b"": a comment
_BEGUN_TEXT = re.compile(rb'"(?:content|refusal|arguments|text|name)"\s*:\s*(?:"(?!")|\{)')
"""A part of the answer in a chunk that is not JSON: a value that has begun, even if nothing of it came."""
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)  # ValueError: not UTF-8


class MalformedStreamError(Exception):
    """The bytes are not an answer.

    Args:
        what: the reason; may quote the provider.
        body: the provider's error object, if it sent one.
        is_complete: whether the model ended its answer so, and the provider delivered all of it.
    """

    def __init__(self, what: str, *, body: Mapping[str, Any] | None = None, is_complete: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.body = body
        self.is_complete = is_complete


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """Content of one chunk. An empty delta is a sign of life: the model is reasoning."""

    text: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """OpenAI's tool call deltas, each with its `index`."""


class _Message(msgspec.Struct):
    """A delta or a complete message; every field may have any type."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None  # OpenAI's form before tool calls


class _Choice(msgspec.Struct):
    index: Any = 0
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    model: Any = None
    system_fingerprint: Any = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    object: Any = None


def max_answer_bytes(max_tokens: int | None) -> int:
    """Return the longest answer to a request with this token limit; None for a request without one."""
    return MAX_BYTES if max_tokens is None else min(MAX_BYTES, max_tokens * BYTES_PER_TOKEN + SIZE_ALLOWANCE_BYTES)


class ChatStreamParser:
    """Parser and accumulator of one answer.

    Args:
        max_tokens: limit of the request; None without one.
    """

    def __init__(self, *, max_tokens: int | None = None) -> None:
        self.finish_reason: str | None = None
        """In OpenAI's words; an unknown one as the provider spells it."""
        self.served_model: str | None = None
        self.fingerprint: str | None = None
        self.character_count = 0
        """Characters of the answer so far, reasoning and arguments of tools included."""
        self.malformed_count = 0
        self.is_done = False  # the end marker came
        self._max_bytes = max_answer_bytes(max_tokens)
        self._weight_bytes = 0
        self._reasoning_bytes = 0
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._tool_calls = ToolCalls()
        self._usage: dict[str, Any] | None = None
        self._joiners = CharacterJoiner(), CharacterJoiner()  # of texts and refusals
        self._rest = bytearray()  # an incomplete line
        self._is_first_line = True
        self._ended_with_cr = False
        self._partial_lines: list[bytes] = []  # data lines of one event that are not JSON by themselves
        self._partial_bytes = 0

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._texts) + self.refusal

    @property
    def refusal(self) -> str:
        """The model's refusal, given instead of an answer."""
        return "".join(self._refusals)

    @property
    def tool_calls(self) -> tuple[dict[str, Any], ...]:
        """The complete tool calls so far."""
        return tuple(self._tool_calls.as_json())

    @property
    def usage(self) -> dict[str, Any] | None:
        """The valid token counts and their details; None until they were reported."""
        return self._usage

    @property
    def has_final_usage(self) -> bool:
        """`usage` counts all of the answer that came."""
        return self._usage is not None

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Parse the next bytes of a stream and yield their deltas.

        Raises:
            MalformedStreamError: an error object, a torn text, more than one malformed chunk, or too long.
        """
        if b"\r" in data or self._ended_with_cr:
            data = self._with_newlines(data)
        start = len(self._rest)
        self._rest += data
        end = self._rest.rfind(b"\n", start)
        if end < 0:
            if len(self._rest) > MAX_JSON_BYTES:
                raise MalformedStreamError(f"a line of the stream is longer than {MAX_JSON_BYTES:,} bytes")
            return
        lines = bytes(self._rest[:end])
        del self._rest[: end + 1]
        for line in lines.split(b"\n"):
            delta = self._line(line)
            if delta is not None:
                yield delta

    def end(self) -> Iterator[Delta]:
        """Parse the end of a stream: its last line may have no newline."""
        yield from self.feed(b"\n\n")

    def parse_body(self, body: bytes) -> None:
        """Parse an answer that was not streamed.

        Raises:
            MalformedStreamError: it is not an answer, or an error object.
        """
        body = body.removeprefix(BOM)
        try:
            msgspec.json.decode(body)
        except _UNREADABLE as error:
            raise MalformedStreamError(f"the answer is not JSON: {error}") from None
        try:
            chunk = _CHUNK.decode(body)
        except _UNREADABLE:
            raise MalformedStreamError("the answer does not have OpenAI's format") from None
        self._chunk(chunk, body)
        if not chunk.choices:
            raise MalformedStreamError("the answer contains no choices")

    def check_complete(self) -> None:
        """Check that the answer has ended.

        Raises:
            MalformedStreamError: no finish reason came, or a tool call or a character is not complete.
        """
        if self.finish_reason is None:
            malformed = f"; {self.malformed_count} chunk was not JSON" if self.malformed_count else ""
            raise MalformedStreamError(f"the answer broke off: no finish reason came{malformed}")
        if finish_kind(self.finish_reason) != "cut":
            self._check_end(self.finish_reason)

    def _check_end(self, finish_reason: str) -> None:
        problem = tool_call_problem(self._tool_calls.as_json(), finish_reason, may_lack_arguments=True)
        if problem is not None:
            raise MalformedStreamError(problem, is_complete=True)
        if any(joiner.has_half for joiner in self._joiners):
            raise MalformedStreamError("the answer ends with half of a character")

    def _with_newlines(self, data: bytes) -> bytes:
        """Replace the other line ends of a stream (CR LF, CR) by newlines; a CR LF may come in two reads."""
        if self._ended_with_cr and data:
            data = data.removeprefix(b"\n")
        self._ended_with_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _line(self, line: bytes) -> Delta | None:
        """Parse a line. An event of one data line, the usual case, does not wait for its blank line."""
        if self._is_first_line:
            self._is_first_line, line = False, line.removeprefix(BOM)
        if not line:
            return self._partial_event() if self._partial_lines else None
        if line.startswith(b"data:"):
            data = line[5:].strip()
        elif line.startswith(b"{"):
            data = line  # some servers report errors without `data:`
        else:
            if line.partition(b":")[0] not in _SSE_FIELDS:
                self._check_not_torn(line)
            elif line.startswith(b":") and b"}" in line:
                self._check_not_torn(line[1:])
            return None
        if data == b"[DONE]":
            self.is_done = True
        elif self._partial_lines or data.startswith(b"{"):
            return self._data(data)
        else:
            self._check_not_torn(data)
        return None

    def _check_not_torn(self, data: bytes) -> None:
        """Raise if bytes that are no chunk may be the end of one."""
        if b'"' not in data or self.is_done:
            return
        try:
            msgspec.json.decode(data)
        except _UNREADABLE:
            raise MalformedStreamError("a chunk of the stream was torn, and its text is lost") from None

    def _data(self, data: bytes) -> Delta | None:
        try:
            chunk = _decode_chunk(data)
        except _UNREADABLE:
            self._partial_lines.append(data)  # the event may continue in its next line
            self._partial_bytes += len(data) + BYTES_PER_PIECE
            if self._partial_bytes > MAX_JSON_BYTES:
                raise MalformedStreamError(f"a chunk of the stream is longer than {MAX_JSON_BYTES:,} bytes") from None
            return None
        if self._partial_lines:
            self._record_malformed()
        return self._chunk(chunk, data)

    def _partial_event(self) -> Delta | None:
        data = b"\n".join(self._partial_lines)
        try:
            chunk = _decode_chunk(data)
        except _UNREADABLE:
            self._record_malformed()
            return None
        self._partial_lines, self._partial_bytes = [], 0
        return self._chunk(chunk, data)

    def _record_malformed(self) -> None:
        data = b"".join(self._partial_lines)
        self._partial_lines, self._partial_bytes = [], 0
        if _BEGUN_TEXT.search(data):
            raise MalformedStreamError("a chunk of the stream was torn, and its text is lost")
        self.malformed_count += 1
        if self.malformed_count > MAX_MALFORMED_COUNT:
            raise MalformedStreamError(f"{self.malformed_count} chunks of the stream were not JSON")

    def _chunk(self, chunk: _Chunk, data: bytes) -> Delta | None:
        if chunk.error or chunk.object == "error":
            raise _error_in_chunk(data)
        if isinstance(chunk.model, str) and chunk.model:
            self.served_model = chunk.model
        if isinstance(chunk.system_fingerprint, str) and chunk.system_fingerprint:
            self.fingerprint = chunk.system_fingerprint
        self._usage = _token_counts(chunk.usage) or self._usage
        for choice in chunk.choices or ():
            if choice.index in (0, None):
                return self._choice(choice)
        return None

    def _choice(self, choice: _Choice) -> Delta | None:
        message = choice.delta or choice.message
        delta = None if message is None else self._message(message)
        if isinstance(choice.finish_reason, str) and choice.finish_reason:
            self._finish(normalised_reason(choice.finish_reason))
        return delta

    def _finish(self, reason: str) -> None:
        if finish_kind(reason) == "failed":
            is_complete = reason in MODEL_FAILURES
            raise MalformedStreamError(f"the provider broke the answer off (`{reason}`)", is_complete=is_complete)
        self.finish_reason = worse_reason(self.finish_reason, reason)

    def _message(self, message: _Message) -> Delta | None:
        texts, refusals = self._joiners
        text, refusal = texts.feed(text_of(message.content)), refusals.feed(text_of(message.refusal))
        reasoning = text_of(message.reasoning_content) or text_of(message.reasoning)
        calls = self._tool_calls.add(message.tool_calls or _as_tool_calls(message.function_call))
        if texts.is_broken or refusals.is_broken:
            raise MalformedStreamError("the answer contains half of a character")
        if self._tool_calls.problem is not None:
            raise MalformedStreamError(self._tool_calls.problem, is_complete=True)
        if not (text or refusal or reasoning or calls):
            return None
        if text:
            self._texts.append(text)
        if refusal:
            self._refusals.append(refusal)
        self._check_size(text + refusal, reasoning, calls)
        return Delta(text=text + refusal, tool_calls=calls)

    def _check_size(self, text: str, reasoning: str, calls: tuple[dict[str, Any], ...]) -> None:
        arguments = sum(len(call["function"]["arguments"]) for call in calls)
        self.character_count += len(text) + arguments + len(reasoning)
        if text or calls:
            self._weight_bytes += len(text) + arguments + BYTES_PER_PIECE * (1 + len(calls))
        if reasoning:  # not every provider applies max_tokens to it
            self._reasoning_bytes += len(reasoning) + BYTES_PER_PIECE
        if self._weight_bytes > self._max_bytes or self._reasoning_bytes > MAX_BYTES:
            raise MalformedStreamError(f"the answer does not end: more than {self._max_bytes:,} bytes came")


def _decode_chunk(data: bytes) -> _Chunk:
    """Decode a chunk; Python's parser keeps half of a character, whose other half comes in the next chunk."""
    try:
        return _CHUNK.decode(data)
    except _UNREADABLE:
        if b"\\ud" not in data and b"\\uD" not in data:
            raise
        return msgspec.convert(json.loads(data), _Chunk)


def _as_tool_calls(function_call: Any) -> list[dict[str, Any]] | None:  # noqa: ANN401 - JSON is anything
    return [{"index": 0, "function": function_call}] if isinstance(function_call, dict) else None


def _token_counts(usage: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JSON is anything
    """Return the valid token counts of a usage object, and their details; None without `prompt_tokens`."""
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
    """Build an error from the provider's error object: the field `error`, a text in it, or the whole chunk."""
    try:
        decoded = msgspec.json.decode(data)
    except _UNREADABLE:
        decoded = {}
    error = decoded.get("error") or decoded
    body = error if isinstance(error, dict) else {"message": str(error)}
    message = body.get("message")
    return MalformedStreamError(message if isinstance(message, str) and message else "no reason given", body=body)


_CHUNK = msgspec.json.Decoder(_Chunk)
