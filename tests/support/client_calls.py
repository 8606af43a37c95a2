"""Ways to call a client in a test: one event loop per call, closed behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import pytest

from flowai.errors import CallError
from flowai.providers.direct.client import OpenAIClient
from flowai.providers.litellm.client import LiteLLMClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowai.providers import Chunk, Completion, Request
    from flowai.redaction import Redactor


def run(work: Callable[[OpenAIClient], Awaitable[Any]], *, redactor: Redactor | None = None) -> Any:
    async def session() -> Any:
        client = OpenAIClient(LiteLLMClient(redactor=redactor, shared_process=False), redactor=redactor)
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(session())


both_transports = pytest.mark.parametrize("ask", ["direct", "litellm"], indirect=True)
"""Runs a test over flowai's own connections, and through LiteLLM."""
Way = Literal["complete", "stream"]
BOTH: tuple[Way, ...] = ("complete", "stream")


def complete(request: Request, way: Way = "complete", **options: Any) -> Completion:
    if way == "complete":
        answer: Completion = run(lambda client: client.complete(request), **options)
        return answer
    completion = listen(request, **options)[-1].completion
    assert completion is not None
    return completion


def listen(request: Request, heard: list[Chunk] | None = None, **options: Any) -> list[Chunk]:
    """Stream; what came before a failure is in `heard`."""
    chunks: list[Chunk] = [] if heard is None else heard

    async def work(client: OpenAIClient) -> None:
        async for chunk in client.stream(request):
            chunks.append(chunk)  # noqa: PERF401 - what came before a failure must be kept

    run(work, **options)
    return chunks


def failure(request: Request, way: Way = "complete", **options: Any) -> CallError:
    with pytest.raises(CallError) as caught:
        complete(request, way, **options)
    return caught.value


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the provider's thread."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another thread's state has no event to wait for
            await asyncio.sleep(0.005)


def error(message: str = "scripted failure", **fields: Any) -> dict[str, Any]:
    return {"message": message, "type": "scripted", **fields}
