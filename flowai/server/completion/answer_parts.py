"""Parts of an answer: texts and tool calls, one after the other.

Deltas of several tool calls may be interleaved; the Responses and Messages APIs send each part as a whole. A part is
held back while the one before it is not complete.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowai.errors import MalformedAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.gateway.records import CompletionResult, TextChunk

PartKind = Literal["text", "tool_call"]


@dataclass(kw_only=True, slots=True)
class AnswerPart:
    """A text, or a tool call."""

    index: int
    """Position in the answer."""
    kind: PartKind
    pieces: list[str] = field(default_factory=list)
    """The text, or the arguments of the call, in pieces."""
    tool_id: str = ""
    """Id of the tool call."""
    name: str = ""
    """Name of the called function."""

    @property
    def text(self) -> str:
        """The text, or the arguments of the call."""
        return "".join(self.pieces)

    @property
    def is_complete(self) -> bool:
        """True when nothing needs to follow: a text may always end, arguments end with their JSON object."""
        return self.kind == "text" or _json_object(self.text) is not None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the call.

        Raises:
            MalformedAnswerError: they are not a JSON object.
        """
        text = self.text
        value = _json_object(text) if text.strip() else {}
        if value is None:
            raise _malformed(f"the arguments of the tool call `{self.name}` are not a JSON object")
        return value


@dataclass(frozen=True, kw_only=True, slots=True)
class PartEvent:
    """A step of a stream of parts."""

    step: Literal["opened", "added", "closed"]
    part: AnswerPart
    text: str = ""
    """New text; only of `added`."""


class PartStream:
    """Converts the chunks of a stream into parts.

    Args:
        call_id: id of the call, for tool calls to which the provider gave none.
    """

    def __init__(self, call_id: str) -> None:
        self._call_id = call_id
        self.parts: list[AnswerPart] = []
        self._open: AnswerPart | None = None
        self._calls: dict[int, AnswerPart] = {}
        self._held: list[AnswerPart] = []

    def add(self, chunk: TextChunk) -> Iterator[PartEvent]:
        """Yield the steps of one chunk.

        Raises:
            MalformedAnswerError: a complete tool call goes on.
        """
        if chunk.text:
            last = self._held[-1] if self._held else self._open
            part = last if last is not None and last.kind == "text" else AnswerPart(index=-1, kind="text")
            yield from self._append(part, chunk.text)
        for position, delta in enumerate(chunk.tool_calls):
            function = delta.get("function") or {}
            number = delta.get("index", position)
            part = self._calls.setdefault(number, AnswerPart(index=-1, kind="tool_call"))
            part.tool_id = part.tool_id or delta.get("id") or ""
            part.name = part.name or function.get("name") or ""
            yield from self._append(part, function.get("arguments") or "")

    def end(self) -> Iterator[PartEvent]:
        """Yield the steps that are left at the end of the answer."""
        if self._open is not None:
            yield PartEvent(step="closed", part=self._open)
        self._open, held, self._held = None, self._held, []
        for part in held:
            yield from self.whole(part)

    def whole(self, part: AnswerPart) -> Iterator[PartEvent]:
        """Yield the steps of a part that is complete."""
        yield self._opened(part)
        if part.text:
            yield PartEvent(step="added", part=part, text=part.text)
        yield PartEvent(step="closed", part=part)

    def _append(self, part: AnswerPart, text: str) -> Iterator[PartEvent]:
        if part.index >= 0 and part is not self._open:
            if text.strip():
                raise _malformed(f"the tool call `{part.name}` went on after its end")
            return
        part.pieces.append(text)
        if part is self._open:
            if text:
                yield PartEvent(step="added", part=part, text=text)
        elif not any(part is held for held in self._held):
            yield from self._begin(part)

    def _begin(self, part: AnswerPart) -> Iterator[PartEvent]:
        """Open a part if the one before it is complete, else hold it back."""
        has_name = part.kind == "text" or bool(part.name)
        if self._held or not has_name or not (self._open is None or self._open.is_complete):
            self._held.append(part)
            return
        if self._open is not None:
            yield PartEvent(step="closed", part=self._open)
        self._open = part
        yield self._opened(part)
        if part.text:
            yield PartEvent(step="added", part=part, text=part.text)

    def _opened(self, part: AnswerPart) -> PartEvent:
        part.index = len(self.parts)
        part.tool_id = part.tool_id or f"call_{self._call_id}_{part.index}"
        self.parts.append(part)
        return PartEvent(step="opened", part=part)


def parts_of(answer: CompletionResult) -> list[AnswerPart]:
    """Return the parts of a complete answer: its text, then its tool calls."""
    texts = [AnswerPart(index=0, kind="text", pieces=[answer.text])] if answer.text else []
    calls = []
    for index, call in enumerate(answer.tool_calls, start=len(texts)):
        function = call.get("function") or {}
        calls.append(
            AnswerPart(
                index=index,
                kind="tool_call",
                pieces=[function.get("arguments") or ""],
                tool_id=call.get("id") or f"call_{answer.call_id}_{index}",
                name=function.get("name") or "",
            )
        )
    return texts + calls


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _malformed(what: str) -> MalformedAnswerError:
    return MalformedAnswerError(what, provider="gateway", model="unknown")
