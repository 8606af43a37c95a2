"""A refused key is replaced by the model's next one, for this call and for later ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted_provider import Asked, Reply, ScriptedProvider

from flowai.errors import AuthError
from flowai.providers import create_client
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowai.providers import Client, Request

GOOD = "key-two"


def accepts(*keys: str, status: int = 401) -> Callable[[Asked], Reply]:
    def answer(asked: Asked) -> Reply:
        is_known = asked.headers["authorization"].removeprefix("bearer ") in keys
        return Reply() if is_known else Reply(status=status, error={"message": "Incorrect API key provided"})

    return answer


def run(work: Callable[[Client], Awaitable[Any]]) -> tuple[Any, list[AuthError]]:
    refused: list[AuthError] = []

    async def session() -> Any:
        client = create_client(redactor=Redactor(), on_key_refused=refused.append)
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(session()), refused


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_replaced_and_not_used_again(
    status: int, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.answerer = accepts(GOOD, status=status)
    request = ask(api_key="key-one", spare_keys=(GOOD, "key-three"))

    async def several(client: Client) -> list[str]:
        texts = [(await client.complete(request)).text]
        texts += ["".join([chunk.text async for chunk in client.stream(request)])]
        return [*texts, (await client.complete(request)).text]

    texts, refused = run(several)
    assert texts == ["hello world"] * 3
    keys = [asked.headers["authorization"].removeprefix("bearer ") for asked in provider.asked]
    assert keys == ["key-one", GOOD, GOOD, GOOD]
    (error,) = refused
    assert error.status == status
    assert error.model == "mini"


def test_a_stream_moves_to_the_next_key_before_its_first_chunk(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.answerer = accepts(GOOD)

    async def stream(client: Client) -> str:
        return "".join([chunk.text async for chunk in client.stream(ask(api_key="key-one", spare_keys=(GOOD,)))])

    text, refused = run(stream)
    assert text == "hello world"
    assert len(refused) == 1


def test_when_every_key_is_refused_the_call_fails_and_the_next_starts_over(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.answerer = accepts()
    request = ask(api_key="key-one", spare_keys=(GOOD,))

    async def twice(client: Client) -> str:
        with pytest.raises(AuthError):
            await client.complete(request)
        provider.answerer = accepts("key-one")
        return (await client.complete(request)).text

    text, _ = run(twice)
    assert text == "hello world"
    assert provider.request_count == 3


def test_other_failures_and_single_keys_are_not_retried(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.answerer = accepts()

    async def fail(client: Client) -> None:
        with pytest.raises(AuthError):
            await client.complete(ask(api_key="key-one"))

    _, refused = run(fail)
    assert provider.request_count == 1
    assert refused == []
