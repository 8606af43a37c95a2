"""LiteLLM records a call only where somebody listens; then he hears of ours, too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from support.litellm_calls import complete, until

from flowai.providers.litellm.adapter import CALLBACK_LISTS
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

        for name in CALLBACK_LISTS:  # LiteLLM copies from one list to another
            monkeypatch.setattr(litellm, name, [])
        litellm.callbacks.append(Listener())
        await client.complete(ask())
        await until(lambda: bool(heard))
        await client.aclose()

    asyncio.run(call())
    assert heard == ["gpt-4o-mini"]


def test_without_callbacks_nothing_is_recorded_and_the_cost_is_known(
    ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(ask())
    import litellm  # noqa: TID251 - as above

    for name in CALLBACK_LISTS:
        monkeypatch.setattr(litellm, name, [])
    from litellm.litellm_core_utils.litellm_logging import Logging  # noqa: TID251 - as above

    recorded: list[object] = []

    async def record(*given: object, **_: object) -> None:
        recorded.append(given)

    monkeypatch.setattr(Logging, "async_success_handler", record)
    assert complete(ask()).cost_usd
    assert recorded == []
