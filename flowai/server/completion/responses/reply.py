"""Replies of the Responses API, whole and as a stream of events.

Source: OpenAI API reference, The response object, Streaming events.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowai.server.completion.answer_parts import AnswerPart, PartEvent, PartStream, parts_of
from flowai.server.completion.responses.bodies import FunctionCall, OutputText, ReasoningOptions, ResponsesBody
from flowai.server.completion.sse import event_frame
from flowai.server.schemas.common import RESPONSE_ID, FlowaiExtension, flowai_extension

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.gateway.records import CompletionResult, StreamRestarted, StreamStarted, TextChunk
    from flowai.server.errors import ErrorResponse

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ResponseStatus = Literal["in_progress", "completed", "incomplete", "failed"]


class OutputMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """The model's message."""

    id: str
    """Id of the item."""
    role: Literal["assistant"] = "assistant"
    """Always `assistant`."""
    status: ItemStatus
    """`incomplete` where the token limit cut it."""
    content: tuple[OutputText, ...]
    """The text."""


class OutputCall(FunctionCall, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """The model's call of a function."""

    id: str
    """Id of the item."""
    status: ItemStatus
    """`incomplete` where the token limit cut it."""
    name: str
    """Name of the function."""


class InputTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of the request by kind."""

    cached_tokens: int = 0
    """Always 0: not measured."""
    cache_write_tokens: int = 0
    """Always 0: not measured."""


class OutputTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of the answer by kind."""

    reasoning_tokens: int = 0
    """Always 0: not measured."""


class ResponseUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts."""

    input_tokens: int
    """Tokens of the request."""
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    """By kind."""
    output_tokens: int
    """Tokens of the answer."""
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    """By kind."""
    total_tokens: int
    """Sum of both."""


class IncompleteDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Reason of an incomplete response."""

    reason: Literal["max_output_tokens", "content_filter"]
    """`max_output_tokens`, `content_filter`."""


class ResponseError(msgspec.Struct, frozen=True, kw_only=True):
    """Error of a failed response."""

    code: str
    """Machine-readable reason."""
    message: str
    """What failed."""


class ResponseReply(msgspec.Struct, frozen=True, kw_only=True):
    """A response; keys that are not listed repeat the request or have OpenAI's neutral value."""

    id: str
    """`resp_` and the id of the call."""
    object: Literal["response"] = "response"
    """Always `response`."""
    created_at: int
    """Seconds since the epoch."""
    completed_at: int | None = None
    """Seconds since the epoch; null until it is complete."""
    status: ResponseStatus
    """`completed`, or `incomplete` where the token limit cut it."""
    background: Literal[False] = False
    """Always false."""
    error: ResponseError | None = None
    """Only of a failed stream."""
    incomplete_details: IncompleteDetails | None = None
    """Why it is incomplete."""
    instructions: str | None
    """As requested."""
    max_output_tokens: int | None
    """As requested."""
    metadata: dict[str, str]
    """As requested."""
    model: str
    """Name of the answering model in the registry."""
    output: tuple[OutputMessage | OutputCall, ...]
    """The text, then function calls."""
    parallel_tool_calls: bool
    """As requested; true by default."""
    previous_response_id: None = None
    """Always null."""
    reasoning: ReasoningOptions
    """As requested."""
    service_tier: Literal["default"] = "default"
    """Always `default`."""
    store: Literal[False] = False
    """Always false: no response is stored."""
    temperature: float | None
    """As requested."""
    text: dict[str, Any]
    """As requested; `format` is free text by default."""
    tool_choice: str | dict[str, Any]
    """As requested; `auto` by default."""
    tools: list[dict[str, Any]]
    """As requested."""
    top_p: float | None
    """As requested."""
    truncation: Literal["disabled"] = "disabled"
    """Always `disabled`."""
    usage: ResponseUsage | None = None
    """Token counts; null when the provider does not report them."""
    user: str | None
    """As requested."""
    flowai: FlowaiExtension
    """Origin of the answer."""


class ResponsesFormat:
    """Answers of one Responses request as bytes."""

    def __init__(self, body: ResponsesBody) -> None:
        self._requested = _requested(body)
        self._created_at = int(time.time())
        self._sequence_number = 0
        self._started: StreamStarted | None = None
        self._stream = PartStream("")

    def whole(self, answer: CompletionResult) -> bytes:
        """Return the body of a complete answer."""
        parts = parts_of(answer) or [AnswerPart(index=0, kind="text")]
        return msgspec.json.encode(self._completed(answer, parts))

    def started(self, started: StreamStarted) -> bytes:
        """Return the events before any output."""
        self._started = started
        self._stream = PartStream(started.call_id)
        response = self._response(started, status="in_progress", output=())
        return self._frames(
            ("response.created", {"response": response}), ("response.in_progress", {"response": response})
        )

    def text(self, chunk: TextChunk) -> bytes:
        """Return the events of a chunk."""
        return self._part_frames(self._stream.add(chunk))

    def restarted(self, restarted: StreamRestarted) -> bytes:
        """Raise: the protocol has no event that voids earlier ones, and no request asks for it."""
        raise AssertionError(restarted)

    def completed(self, answer: CompletionResult) -> bytes:
        """Return the last events of a complete stream."""
        status = _item_status(answer)
        ends = self._part_frames(self._stream.end(), status)
        if not self._stream.parts:
            ends += self._part_frames(self._stream.whole(AnswerPart(index=0, kind="text")), status)
        response = self._completed(answer, self._stream.parts)
        return ends + self._frames((f"response.{response.status}", {"response": response}))

    def failed(self, problem: ErrorResponse) -> bytes:
        """Return the last events of a stream that fails: clients raise at `error`, which has OpenAI's error object."""
        assert self._started is not None  # noqa: S101 - for the type checker: only a stream that began can fail
        code = problem.code or problem.type
        fields = {"code": code, "message": problem.message, "param": problem.param}
        response = self._response(
            self._started,
            status="failed",
            output=_items(self._stream.parts, self._started.call_id, "incomplete"),
            error=ResponseError(code=code, message=problem.message),
        )
        return self._frames(("error", {**fields, **problem.as_object()}), ("response.failed", {"response": response}))

    def _completed(self, answer: CompletionResult, parts: Sequence[AnswerPart]) -> ResponseReply:
        status = _item_status(answer)
        return self._response(
            answer,
            status="incomplete" if status == "incomplete" else "completed",
            output=_items(parts, answer.call_id, status),
            completed_at=int(time.time()) if status == "completed" else None,
            incomplete_details=IncompleteDetails(reason="max_output_tokens") if status == "incomplete" else None,
            usage=_usage(answer),
        )

    def _response(
        self,
        answer: CompletionResult | StreamStarted,
        *,
        status: ResponseStatus,
        output: tuple[OutputMessage | OutputCall, ...],
        **fields: Any,  # noqa: ANN401 - further fields of a ResponseReply
    ) -> ResponseReply:
        return ResponseReply(
            id=RESPONSE_ID + answer.call_id,
            created_at=self._created_at,
            model=answer.model,
            status=status,
            output=output,
            flowai=flowai_extension(answer),
            **self._requested,
            **fields,
        )

    def _part_frames(self, events: Iterable[PartEvent], status: ItemStatus = "completed") -> bytes:
        """Return the events of parts; the last part has the status of the answer."""
        assert self._started is not None  # noqa: S101 - for the type checker: text follows the start
        frames, steps = b"", list(events)
        for step in steps:
            is_last = step.part is steps[-1].part
            item = _item(step.part, self._started.call_id, status if is_last else "completed")
            frames += self._frames(*(_text_events if step.part.kind == "text" else _call_events)(step, item))
        return frames

    def _frames(self, *events: tuple[str, dict[str, Any]]) -> bytes:
        frames = []
        for name, payload in events:
            frames.append(event_frame(name, {"sequence_number": self._sequence_number, **payload}))
            self._sequence_number += 1
        return b"".join(frames)


def _text_events(event: PartEvent, item: OutputMessage | OutputCall) -> list[tuple[str, dict[str, Any]]]:
    output = {"output_index": event.part.index}
    content = {"item_id": item.id, **output, "content_index": 0}
    if event.step == "opened":
        begun = msgspec.structs.replace(item, status="in_progress", content=())
        return [
            ("response.output_item.added", {**output, "item": begun}),
            ("response.content_part.added", {**content, "part": OutputText(text="")}),
        ]
    if event.step == "added":
        return [("response.output_text.delta", {**content, "delta": event.text, "logprobs": []})]
    text = event.part.text
    return [
        ("response.output_text.done", {**content, "text": text, "logprobs": []}),
        ("response.content_part.done", {**content, "part": OutputText(text=text)}),
        ("response.output_item.done", {**output, "item": item}),
    ]


def _call_events(event: PartEvent, item: OutputMessage | OutputCall) -> list[tuple[str, dict[str, Any]]]:
    output = {"output_index": event.part.index}
    if event.step == "opened":
        begun = msgspec.structs.replace(item, status="in_progress", arguments="")
        return [("response.output_item.added", {**output, "item": begun})]
    if event.step == "added":
        return [("response.function_call_arguments.delta", {"item_id": item.id, **output, "delta": event.text})]
    done = {"item_id": item.id, **output, "name": event.part.name, "arguments": event.part.text}
    return [
        ("response.function_call_arguments.done", done),
        ("response.output_item.done", {**output, "item": item}),
    ]


def _items(parts: Sequence[AnswerPart], call_id: str, status: ItemStatus) -> tuple[OutputMessage | OutputCall, ...]:
    """Return parts as items; only the last one can be incomplete."""
    last = len(parts) - 1
    return tuple(_item(part, call_id, status if part.index == last else "completed") for part in parts)


def _item(part: AnswerPart, call_id: str, status: ItemStatus) -> OutputMessage | OutputCall:
    if part.kind == "text":
        return OutputMessage(id=f"msg_{call_id}_{part.index}", status=status, content=(OutputText(text=part.text),))
    return OutputCall(
        id=f"fc_{call_id}_{part.index}", status=status, call_id=part.tool_id, name=part.name, arguments=part.text
    )


def _item_status(answer: CompletionResult) -> ItemStatus:
    return "incomplete" if answer.finish_reason == "length" else "completed"


def _usage(answer: CompletionResult) -> ResponseUsage | None:
    if answer.input_tokens is None or answer.output_tokens is None:
        return None
    total = answer.input_tokens + answer.output_tokens
    return ResponseUsage(input_tokens=answer.input_tokens, output_tokens=answer.output_tokens, total_tokens=total)


def _requested(body: ResponsesBody) -> dict[str, Any]:
    """Return the fields of a response that repeat the request."""
    text = {} if body.text is None else {k: v for k, v in msgspec.to_builtins(body.text).items() if v is not None}
    choice = body.tool_choice or "auto"
    return {
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "reasoning": body.reasoning or ReasoningOptions(),
        "temperature": body.temperature,
        "text": {"format": {"type": "text"}, **text},
        "tool_choice": choice if isinstance(choice, str) else msgspec.to_builtins(choice),
        "tools": [msgspec.to_builtins(tool) for tool in body.tools or ()],
        "top_p": body.top_p,
        "user": body.user,
    }
