"""Records the answers of models and replays them byte for byte, so that suites and gates run without a model.

A request is identified by a hash of model name, messages, parameters and schema, without keys, addresses and time
limits, so that a recording is valid on any machine.
"""

from __future__ import annotations

import hashlib
from array import array
from typing import TYPE_CHECKING, Any

import msgspec

from flowai import errors
from flowai.errors import CallError, Place, ProjectError, RecordingMissError, UsageError
from flowai.providers.client import Chunk, Completion, Embeddings
from flowai.storage.jsonl import AppendLog, iterate_lines

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from pathlib import Path

    from flowai.providers.client import Client, EmbedRequest, Endpoint, Request
    from flowai.redaction import Redactor
    from flowai.storage.jsonl import JsonLine

SCHEMA_VERSION = 1
QUESTION_PREVIEW_CHARS = 80


class RecordedFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A permanent failure, such as a request longer than the model's context."""

    kind: str
    """Name of the error class."""
    what: str
    """The provider's reason, redacted."""
    status: int | None = None
    """HTTP status; None when no answer came."""
    hint: str | None = None


class RecordedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a recording. Exactly one of `completion`, `embeddings` and `failure` is set."""

    key: str
    """`request_key` of the request, hex."""
    model: str
    """LiteLLM's name of the model, for readers."""
    question: str
    """Start of the last message or of the first text, redacted, for readers."""
    completion: Completion | None = None
    """Redacted."""
    embeddings: Embeddings | None = None
    failure: RecordedFailure | None = None
    schema_version: int = SCHEMA_VERSION


def request_key(request: Request | EmbedRequest) -> str:
    """Hash the parts of a request that can change its answer: SHA-256 of JSON with sorted keys, 64 hex digits."""
    model = request.endpoint.model
    parts: tuple[Any, ...]
    if hasattr(request, "texts"):
        parts = ("embed", model, request.texts)
    else:
        parts = ("chat", model, request.messages, request.params, request.response_schema)
        if request.response_format is not None:  # keeps older recordings valid
            parts += (request.response_format,)
        parts += request.own_parts()
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


class RecordingClient:
    """Client that records every answer of another client, and its permanent failures.

    Args:
        inner: the client that answers.
        path: the recording.
        redactor: removes secrets from the recording.
        add: whether to append to an existing recording; otherwise the first answer replaces it.
    """

    def __init__(self, inner: Client, path: Path, *, redactor: Redactor, add: bool = False) -> None:
        self._inner = inner
        self._path = path
        self._redactor = redactor
        self._add = add
        self._log: AppendLog | None = None

    async def complete(self, request: Request) -> Completion:
        """Return the inner client's answer; see `Client.complete`."""
        try:
            completion = await self._inner.complete(request)
        except CallError as error:
            self._keep_failure(request, error)
            raise
        self._keep_completion(request, completion)
        return completion

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Yield the inner client's answer in chunks; see `Client.stream`."""
        try:
            async for chunk in self._inner.stream(request):
                if chunk.completion is not None:
                    self._keep_completion(request, chunk.completion)
                yield chunk
        except CallError as error:
            self._keep_failure(request, error)
            raise

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return the inner client's vectors; see `Client.embed`."""
        embeddings = await self._inner.embed(request)
        self._keep(self._line(request, embeddings=embeddings))
        return embeddings

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        """Warm up the inner client; see `Client.warm_up`."""
        await self._inner.warm_up(endpoints)

    async def aclose(self) -> None:
        """Close the recording and the inner client; may be called twice."""
        if self._log is not None:
            self._log.close()
            self._log, self._add = None, True
        await self._inner.aclose()

    def _keep_completion(self, request: Request, completion: Completion) -> None:
        redacted = msgspec.structs.replace(
            completion,
            text=self._redactor.text(completion.text),
            tool_calls=tuple(self._redactor.value(call) for call in completion.tool_calls),
        )
        self._keep(self._line(request, completion=redacted))

    def _keep_failure(self, request: Request, error: CallError) -> None:
        if not error.retryable:
            failure = RecordedFailure(
                kind=type(error).__name__,
                what=self._redactor.text(error.what),
                status=error.status,
                hint=error.hint,
            )
            self._keep(self._line(request, failure=failure))

    def _line(self, request: Request | EmbedRequest, **answer: Any) -> RecordedResponse:  # noqa: ANN401 - Recorded's fields
        question = self._redactor.text(_question_text(request))[:QUESTION_PREVIEW_CHARS]
        return RecordedResponse(key=request_key(request), model=request.endpoint.model, question=question, **answer)

    def _keep(self, line: RecordedResponse) -> None:
        if self._log is None:
            if not self._add:
                self._path.unlink(missing_ok=True)
            self._log = AppendLog(self._path)
        self._log.append(line)


class ReplayClient:
    """Client that answers from a recording. A repeated request gets the next recorded answer.

    Args:
        path: the recording, or a directory of recordings.
        on_miss: client for requests that are not recorded; None to refuse them.
        on_called: called with each request before it goes to `on_miss`.
        name: name of the file in errors; default its path.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_miss: Client | None = None,
        on_called: Callable[[Request | EmbedRequest], None] = lambda _: None,
        name: str | None = None,
    ) -> None:
        self._name = name or str(path)
        self._on_miss = on_miss
        self._on_called = on_called
        self._recording = None if on_miss is not None and not path.exists() else _Recording(path, self._name)

    async def complete(self, request: Request) -> Completion:
        """Return the recorded answer; see `Client.complete`.

        Raises:
            CallError: the recorded call failed.
            RecordingMissError: the request was not recorded, or fewer times than it is sent.
        """
        line = self._next(request)
        if line is None or line.completion is None:
            return await self._not_recorded(request).complete(request)
        return line.completion

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Yield the recorded answer as one chunk; see `complete`."""
        line = self._next(request)
        if line is None or line.completion is None:
            async for chunk in self._not_recorded(request).stream(request):
                yield chunk
        else:
            calls = tuple({"index": index, **call} for index, call in enumerate(line.completion.tool_calls))
            yield Chunk(text=line.completion.text, tool_calls=calls, completion=line.completion)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return the recorded vectors; see `complete`."""
        line = self._next(request)
        if line is None or line.embeddings is None:
            return await self._not_recorded(request).embed(request)
        return line.embeddings

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        """Do nothing: a replay loads nothing."""

    async def aclose(self) -> None:
        """Close the client that answers misses; may be called twice."""
        if self._on_miss is not None:
            await self._on_miss.aclose()

    def _next(self, request: Request | EmbedRequest) -> RecordedResponse | None:
        line = None if self._recording is None else self._recording.next(request_key(request))
        if line is not None and line.failure is not None:
            raise _recorded_error(line.failure, request, self._name)
        return line

    def _not_recorded(self, request: Request | EmbedRequest) -> Client:
        if self._on_miss is not None:
            self._on_called(request)
            return self._on_miss
        count = 0 if self._recording is None else self._recording.count(request_key(request))
        often = f"was recorded {count} times and is sent once more" if count else "was never recorded"
        raise RecordingMissError(
            f"a request to `{request.endpoint.model}` {often}: {_question_text(request)[:QUESTION_PREVIEW_CHARS]!r}",
            place=Place(file=self._name),
            hint="the prompt, a case or a parameter has changed: record again with `--record`, or `--on-miss call`",
        )


def _question_text(request: Request | EmbedRequest) -> str:
    if hasattr(request, "texts"):
        text = request.texts[0] if request.texts else ""
    else:
        content = request.messages[-1].get("content") if request.messages else ""
        text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return " ".join(text.split())


def _recorded_error(failure: RecordedFailure, request: Request | EmbedRequest, name: str) -> CallError:
    kind = getattr(errors, failure.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, CallError)):
        raise ProjectError(f"`{failure.kind}` is not a class of CallError", place=Place(file=name))
    endpoint = request.endpoint
    return kind(failure.what, provider=endpoint.provider, model=endpoint.name, status=failure.status, hint=failure.hint)


class _Recording:
    """Recorded answers by key; their positions are in memory, each is read when it is asked for."""

    def __init__(self, path: Path, name: str) -> None:
        files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path] if path.is_file() else []
        if not files:
            raise UsageError(f"no recording `{name}`", hint="make one with `--record FILE`")
        self._files = files
        self._numbers: dict[str, int | list[int]] = {}
        """Numbers of a key's lines, in order; a single one without its list."""
        self._used: dict[str, int] = {}
        self._positions = array("Q")
        """File, offset and size of each line."""
        for number, file in enumerate(files):
            for key, line in _lines_of(file, name if file == path else f"{name}/{file.name}"):
                self._add(key, len(self._positions) // 3)
                self._positions.extend((number, line.offset, line.size_bytes))

    def next(self, key: str) -> RecordedResponse | None:
        """Return the next answer of a key; None after the last."""
        used, found = self._used.get(key, 0), self._numbers.get(key, [])
        numbers = [found] if isinstance(found, int) else found
        if used >= len(numbers):
            return None
        self._used[key] = used + 1
        at = 3 * numbers[used]
        with self._files[self._positions[at]].open("rb") as stream:
            stream.seek(self._positions[at + 1])
            return msgspec.json.decode(stream.read(self._positions[at + 2]), type=RecordedResponse)

    def count(self, key: str) -> int:
        """Return how many answers of a key were recorded."""
        numbers = self._numbers.get(key, ())
        return 1 if isinstance(numbers, int) else len(numbers)

    def _add(self, key: str, number: int) -> None:
        earlier = self._numbers.setdefault(key, number)
        if isinstance(earlier, list):
            earlier.append(number)
        elif earlier != number:
            self._numbers[key] = [earlier, number]


def _lines_of(file: Path, name: str) -> Iterator[tuple[str, JsonLine]]:
    for line in iterate_lines(file, name=name):
        try:
            recorded = msgspec.convert(line.value, RecordedResponse)
        except msgspec.ValidationError as error:
            raise ProjectError(
                f"not a line of a recording: {error}", place=Place(file=name, line=line.number)
            ) from None
        if [recorded.completion, recorded.embeddings, recorded.failure].count(None) != 2:  # noqa: PLR2004 - one of three is set
            found = "expected one of `completion`, `embeddings`, `failure`"
            raise ProjectError(f"not a line of a recording: {found}", place=Place(file=name, line=line.number))
        yield recorded.key, line
