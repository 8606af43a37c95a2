"""Asks providers for their lists of models, all at once; one that is dead does not stop the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from flowai.providers.model_lists.addresses import ListAddress, list_address
from flowai.providers.model_lists.answers import ListedName, read_model, read_page
from flowai.providers.model_lists.records import LiveModel
from flowai.providers.wire import WireRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from flowai.providers.client import Endpoint
    from flowai.providers.http.connections import Connections

Answer = TypeVar("Answer")

TIMEOUT_S = 5.0
"""Of all requests to one provider together."""
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_PAGES = 10
_OK = 200
_UNAUTHORIZED = frozenset({401, 403})


class FirstModel(NamedTuple):
    """The first model of a list."""

    name: str | None
    reason: str | None
    """Why there is none; None if there is one."""


class _Failure(NamedTuple):
    """A provider that could not be asked."""

    reason: str
    is_key_refused: bool = False


class _ListError(Exception):
    """A list that cannot be read; its text is the reason."""

    def __init__(self, reason: str, *, is_key_refused: bool = False) -> None:
        super().__init__(reason)
        self.is_key_refused = is_key_refused


def ask_providers(
    endpoints: Mapping[str, Endpoint], redact: Callable[[str], str], *, timeout_s: float = TIMEOUT_S
) -> dict[str, LiveModel]:
    """Return the providers' word on each model; providers are asked at the same time, each once.

    Args:
        endpoints: by the model's name, with keys.
        redact: removes secrets from reasons.
        timeout_s: limit for one provider.
    """
    return asyncio.run(_ask_all(endpoints, redact, timeout_s))


async def _ask_all(
    endpoints: Mapping[str, Endpoint], redact: Callable[[str], str], timeout_s: float
) -> dict[str, LiveModel]:
    from flowai.providers.http.connections import Connections  # late: it imports aiohttp

    found: dict[str, LiveModel] = {}
    waiting: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, ListAddress]] = {}
    for name, endpoint in endpoints.items():
        address = list_address(endpoint)
        if isinstance(address, str):
            found[name] = LiveModel(status="not_asked", reason=address)
        else:
            waiting.setdefault((address.url, address.headers), {})[name] = address
    connections = Connections()
    try:
        answers = await asyncio.gather(*(_ask(connections, models, timeout_s) for models in waiting.values()))
    finally:
        await connections.aclose()
    for answer in answers:
        found |= {
            name: msgspec.structs.replace(live, reason=live.reason and redact(live.reason))
            for name, live in answer.items()
        }
    return {name: found[name] for name in endpoints}


async def _ask(connections: Connections, models: Mapping[str, ListAddress], timeout_s: float) -> dict[str, LiveModel]:
    """Ask one provider for its list, and for each model that the list does not have."""
    first = next(iter(models.values()))

    async def ask() -> dict[str, LiveModel]:
        listed = await _list(connections, first)
        return {name: await _model(connections, address, listed) for name, address in models.items()}

    answer = await _answer_or_reason(first.url, ask(), timeout_s)
    if isinstance(answer, _Failure):
        failed = LiveModel(status="failed", reason=answer.reason, is_key_refused=answer.is_key_refused)
        return dict.fromkeys(models, failed)
    return answer


async def _answer_or_reason(url: str, work: Coroutine[None, None, Answer], timeout_s: float) -> Answer | _Failure:
    """Return what `work` returns, or the reason why the provider at the URL could not be asked."""
    from flowai.providers.http.connections import CONNECTION_ERRORS, RedirectError

    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except _ListError as error:
        return _Failure(f"{url}: {error}", is_key_refused=error.is_key_refused)
    except TimeoutError:
        return _Failure(f"{url}: no answer within {timeout_s:g} s")
    except RedirectError as error:
        return _Failure(f"{url}: {error.what}")
    except (*CONNECTION_ERRORS, ValueError) as error:
        return _Failure(f"{url}: {type(error).__name__}: {error}")


def first_model(base_url: str, key: str | None, *, timeout_s: float = TIMEOUT_S) -> FirstModel:
    """Return the first model that an endpoint of OpenAI's protocol lists, or why there is none.

    Args:
        base_url: the endpoint's.
        key: sent as a bearer token; None for none.
        timeout_s: limit of the request.
    """
    headers = (("Authorization", f"Bearer {key}"),) if key else ()
    address = ListAddress(f"{base_url.removesuffix('/')}/models", "", headers, "")
    listed = asyncio.run(_list_alone(address, timeout_s))
    if isinstance(listed, _Failure):
        return FirstModel(None, listed.reason)
    name = next(iter(listed), None)
    return FirstModel(name, None if name else f"{address.url}: the list of models is empty")


async def _list_alone(address: ListAddress, timeout_s: float) -> dict[str, ListedName] | _Failure:
    from flowai.providers.http.connections import Connections  # late: it imports aiohttp

    connections = Connections()
    try:
        return await _answer_or_reason(address.url, _list(connections, address), timeout_s)
    finally:
        await connections.aclose()


async def _list(connections: Connections, address: ListAddress) -> dict[str, ListedName]:
    models: dict[str, ListedName] = {}
    query = address.query
    for _ in range(MAX_PAGES):
        status, body = await _get(connections, address.url + query, address)
        if status in _UNAUTHORIZED:
            reason = f"the key is refused ({status})" if address.headers else f"a key is needed ({status})"
            raise _ListError(reason, is_key_refused=True)
        if status != _OK:
            raise _ListError(f"no list of models (HTTP {status})")
        page = read_page(body)
        if page is None:
            raise _ListError("the answer is no list of models")
        models |= page.models
        if page.last_id is None:
            break
        query = f"{address.query}&after_id={quote(page.last_id, safe='')}"
    return models


async def _model(connections: Connections, address: ListAddress, listed: Mapping[str, ListedName]) -> LiveModel:
    """Return the word on one model; the list may lack aliases that the provider serves."""
    found = listed.get(address.model)
    if found is None and "/" not in address.model:
        status, body = await _get(connections, f"{address.url}/{quote(address.model, safe='')}", address)
        found = read_model(body) if status == _OK else None
    if found is None:
        return LiveModel(status="not_listed")
    return LiveModel(
        status="listed",
        end_date=found.end_date,
        replacement=found.replacement,
        is_deprecated=found.is_deprecated,
    )


async def _get(connections: Connections, url: str, address: ListAddress) -> tuple[int, bytes]:
    headers = (("accept", "application/json"), *address.headers)
    response = await connections.send(WireRequest(url=url, headers=headers, body=b"", method="GET"))
    try:
        body = bytearray()
        async for part in response.content.iter_any():
            body += part
            if len(body) > MAX_BODY_BYTES:
                raise _ListError(f"the list is longer than {MAX_BODY_BYTES // 1024 // 1024} MiB")
        return response.status, bytes(body)
    finally:
        response.close()
