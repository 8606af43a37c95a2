"""Callbacks of LiteLLM receive the calls that flowai makes through it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from support.client_calls import until

from flowai.providers.litellm.client import LiteLLMClient

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from flowai.providers import Request


def test_a_user_s_callback_receives_our_calls(ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    async def call() -> None:
        client = LiteLLMClient()
        await client.warm_up()
        import litellm  # noqa: TID251 - where a user sets his callbacks
        from litellm.integrations.custom_logger import CustomLogger  # noqa: TID251 - as above

        class Listener(CustomLogger):
            async def async_log_success_event(self, kwargs: Any, *_: Any, **__: Any) -> None:
                heard.append(kwargs["model"])

        lists = ("callbacks", "success_callback", "failure_callback")
        for name in (*lists, "_async_success_callback", "_async_failure_callback"):  # it copies from one to another
            monkeypatch.setattr(litellm, name, [])
        litellm.callbacks.append(Listener())
        await client.complete(ask())
        await until(lambda: bool(heard))
        await client.aclose()

    asyncio.run(call())
    assert heard == ["gpt-4o-mini"]
