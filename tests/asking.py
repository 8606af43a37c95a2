"""Ways to ask the LiteLLM client in a test: one event loop per question, closed behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from flowai.calls.litellm_client import LiteLLMClient
from flowai.errors import CallError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowai.calls import Completion, Measure, Request
    from flowai.secrets import Redactor

BOTH: tuple[Measure, ...] = ("whole", "first_token")


def run(work: Callable[[LiteLLMClient], Awaitable[Any]], *, redactor: Redactor | None = None) -> Any:
    async def session() -> Any:
        client = LiteLLMClient(redactor=redactor, shared_process=False)
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(session())


def complete(request: Request, measure: Measure = "whole", **options: Any) -> Completion:
    answer: Completion = run(lambda client: client.complete(request, measure=measure), **options)
    return answer


def failure(request: Request, measure: Measure = "whole", **options: Any) -> CallError:
    with pytest.raises(CallError) as caught:
        complete(request, measure, **options)
    return caught.value


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the provider's thread."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another thread's state has no event to wait for
            await asyncio.sleep(0.005)


def error(message: str = "scripted failure", **fields: Any) -> dict[str, Any]:
    return {"message": message, "type": "scripted", **fields}
