"""A provider that misbehaves on request, and requests to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.scripted_provider import ScriptedProvider

from flowai.providers import Endpoint, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "sk-abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as server:
        yield server


@pytest.fixture
def ask(provider: ScriptedProvider, request: pytest.FixtureRequest) -> Callable[..., Request]:
    """Makes requests to the scripted provider; keywords replace fields of the endpoint or of the request."""
    transport = getattr(request, "param", "auto")

    def make(text: str = "hi", **fields: Any) -> Request:
        names = Endpoint.__struct_fields__
        given = {name: fields.pop(name) for name in names if name in fields}
        endpoint = {
            "name": "mini",
            "model": "openai/gpt-4o-mini",
            "provider": "openai",
            "api_base": provider.base_url,
            "api_key": KEY,
            "transport": transport,
            **given,
        }
        message = {"role": "user", "content": text}
        return Request(endpoint=Endpoint(**endpoint), messages=(message,), **fields)

    return make
