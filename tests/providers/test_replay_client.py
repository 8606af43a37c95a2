"""Recordings: what goes in comes out, and no key goes in."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.errors import ContextTooLongError, ProjectError, RateLimitedError, RecordingMissError, UsageError
from flowai.providers import Chunk, Completion, Embeddings, EmbedRequest, Endpoint, Request, create_client
from flowai.providers.replay import RecordingClient, ReplayClient, request_key
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path


ENDPOINT = Endpoint(name="mini", model="openai/mini", provider="openai", api_key="the-key-itself")


def ask(text: str = "hi", **fields: Any) -> Request:
    endpoint = fields.pop("endpoint", ENDPOINT)
    return Request(endpoint=endpoint, messages=({"role": "user", "content": text},), **fields)


class Model:
    """Answers with its count of calls, or fails as it is told."""

    def __init__(self, failure: Exception | None = None, text: str = "answer") -> None:
        self.count = 0
        self.closed = False
        self._failure = failure
        self._text = text

    async def complete(self, request: Request) -> Completion:
        self.count += 1
        if self._failure is not None:
            raise self._failure
        return Completion(
            text=f"{self._text} {self.count}",
            model=request.endpoint.model,
            served_model="mini-1",
            provider="openai",
            finish_reason="stop",
            input_tokens=1,
            output_tokens=2,
            cost_usd=0.25,
            latency_ms=12.5,
            ttft_ms=None,
        )

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        whole = await self.complete(request)
        yield Chunk(text=whole.text)
        yield Chunk(text="", completion=whole)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        return Embeddings(vectors=tuple((float(len(text)),) for text in request.texts), input_tokens=1, cost_usd=0.0)

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        pass

    async def aclose(self) -> None:
        self.closed = True


def record(path: Path, *requests: Request, model: Model | None = None, **options: Any) -> list[Any]:
    async def session() -> list[Any]:
        client = RecordingClient(model or Model(), path, redactor=options.pop("redactor", Redactor()), **options)
        try:
            return [await client.complete(request) for request in requests]
        finally:
            await client.aclose()

    return asyncio.run(session())


def replay(path: Path, *requests: Request, **options: Any) -> list[Completion]:
    async def session() -> list[Completion]:
        client = ReplayClient(path, **options)
        try:
            return [await client.complete(request) for request in requests]
        finally:
            await client.aclose()

    return asyncio.run(session())


def test_a_recording_gives_the_same_answers(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.jsonl"
    recorded = record(path, ask("a"), ask("b"))
    assert replay(path, ask("b"), ask("a")) == [recorded[1], recorded[0]]


def test_repeats_are_replayed_in_recorded_order(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    recorded = record(path, ask(), ask(), ask())
    assert replay(path, ask(), ask(), ask()) == recorded
    with pytest.raises(RecordingMissError, match="was recorded 3 times and is sent once more"):
        replay(path, ask(), ask(), ask(), ask())


def test_the_request_key_ignores_api_keys_addresses_and_timeouts() -> None:
    other = Endpoint(
        name="other", model="openai/mini", provider="host:1", api_base="http://host:1", api_key="k", file="/f"
    )
    assert request_key(ask(endpoint=other, first_token_timeout_s=1, total_timeout_s=2)) == request_key(ask())


@pytest.mark.parametrize(
    "changed",
    [
        ask("hi "),
        ask(params={"temperature": 0}),
        ask(response_schema={"type": "object"}),
        ask(response_format={"type": "json_object"}),
        ask(endpoint=Endpoint(name="mini", model="openai/maxi", provider="openai")),
    ],
)
def test_the_request_key_depends_on_everything_that_changes_the_answer(changed: Request) -> None:
    assert request_key(changed) != request_key(ask())


PARAMS = st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), max_size=5)


@given(PARAMS)
def test_the_request_key_ignores_the_order_of_parameters(params: dict[str, Any]) -> None:
    turned = dict(reversed(params.items()))
    assert request_key(ask(params=turned)) == request_key(ask(params=params))


def test_a_miss_is_an_error_with_the_request_and_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    record(path, ask("a"))
    with pytest.raises(RecordingMissError) as caught:
        replay(path, ask("another question"), name="evals/run.jsonl")
    assert str(caught.value) == "evals/run.jsonl: a request to `openai/mini` was never recorded: 'another question'"
    assert caught.value.hint is not None
    assert "--record" in caught.value.hint
    assert caught.value.exit_code == 3


def test_on_miss_call_calls_the_model_and_records_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    (first,) = record(path, ask("a"))
    model = Model(text="fresh")
    misses = RecordingClient(model, path, redactor=Redactor(), add=True)
    assert [answer.text for answer in replay(path, ask("a"), ask("b"), on_miss=misses)] == [first.text, "fresh 1"]
    assert model.closed
    assert [answer.text for answer in replay(path, ask("b"), ask("a"))] == ["fresh 1", first.text]


def test_recording_again_replaces_the_file_at_the_first_answer_only(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    record(path, ask("a"), ask("b"))
    record(path)
    assert len(path.read_text().splitlines()) == 2
    record(path, ask("c"))
    assert len(path.read_text().splitlines()) == 1


def test_no_key_is_written(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    planted = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"
    model = Model(text=f"your key is {planted}, and the-known-one")
    record(path, ask(f"remember {planted} and the-known-one"), model=model, redactor=Redactor(["the-known-one"]))
    written = path.read_text()
    assert planted not in written
    assert "the-known-one" not in written
    assert "the-key-itself" not in written


def test_permanent_failures_are_replayed_and_transient_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    lasting = ContextTooLongError("too long", provider="openai", model="mini", status=400, hint="shorten it")
    with pytest.raises(ContextTooLongError):
        record(path, ask("long"), model=Model(lasting))
    passing = RateLimitedError("slow down", provider="openai", model="mini", status=429)
    with pytest.raises(RateLimitedError):
        record(path, ask("short"), model=Model(passing), add=True)
    with pytest.raises(ContextTooLongError) as caught:
        replay(path, ask("long"))
    assert caught.value.what == "too long"
    assert caught.value.status == 400
    assert caught.value.hint == "shorten it"
    with pytest.raises(RecordingMissError):
        replay(path, ask("short"))


def test_streams_and_vectors_are_recorded_too(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    vectors = EmbedRequest(endpoint=ENDPOINT, texts=("a", "bcd"))

    async def both(client: RecordingClient | ReplayClient) -> tuple[str, Completion | None, Embeddings]:
        chunks = [chunk async for chunk in client.stream(ask())]
        embeddings = await client.embed(vectors)
        await client.aclose()
        return "".join(chunk.text for chunk in chunks), chunks[-1].completion, embeddings

    recorded = asyncio.run(both(RecordingClient(Model(), path, redactor=Redactor())))
    assert asyncio.run(both(ReplayClient(path))) == recorded


@pytest.mark.parametrize("line", ['{"key": 1}', "[]", '{"key": "a"}', "{torn"])
def test_a_wrong_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    record(path, ask())
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(ProjectError) as caught:
        ReplayClient(path, name="run.jsonl")
    assert caught.value.place is not None
    assert caught.value.place.file == "run.jsonl"
    assert caught.value.place.line == 2


def test_only_call_errors_are_built_from_recordings(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    line = {"key": request_key(ask()), "model": "m", "question": "", "failure": {"kind": "Path", "what": "x"}}
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(ProjectError, match="not a class of CallError"):
        replay(path, ask())


def test_a_recording_is_one_json_object_per_answer(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    record(path, ask("summarise\n  this"))
    (line,) = [msgspec.json.decode(raw) for raw in path.read_bytes().splitlines()]
    assert line["schema_version"] == 1
    assert line["model"] == "openai/mini"
    assert line["question"] == "summarise this"
    assert line["completion"]["text"] == "answer 1"


def test_contradictory_client_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="replays or records"):
        create_client(redactor=Redactor(), replay=tmp_path / "a", record=tmp_path / "b")
    with pytest.raises(UsageError, match="no recording"):
        create_client(redactor=Redactor(), replay=tmp_path / "a")
    create_client(redactor=Redactor(), replay=tmp_path / "a", call_on_miss=True)
