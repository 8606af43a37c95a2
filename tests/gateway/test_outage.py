"""An outage in small: a dead primary, many callers at once, and nobody notices; `benchmarks/outage.py` in large."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.fault_project import Clocks, Providers, ask, write_project
from support.fault_table import SLACK_S, TEXTS, WELL, Behaviour
from support.scripted_replies import Reply

from flowai.errors import FlowaiError
from flowai.gateway.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CALLERS_COUNT = 10
FIRST_TOKEN_S = 6.0
"""Long: with so many callers at once on a busy machine, the well provider needs its time too."""
CALLS_COUNT = 5
DEATHS: dict[str, Behaviour] = {
    "500": Reply(status=500),
    "429": Reply(status=429),
    "refused": None,
    "reset": Reply(fault="reset_before_headers"),
    "silent": Reply(fault="silent"),
}


@pytest.fixture(scope="module")
def providers() -> Iterator[Providers]:
    with Providers() as running:
        yield running


@pytest.mark.parametrize("death", DEATHS)
def test_during_an_outage_no_call_fails_and_the_breaker_opens(death: str, providers: Providers, tmp_path: Path) -> None:
    listens = DEATHS[death] is not None
    write_project(tmp_path, providers, listens=listens, first_token_s=FIRST_TOKEN_S, total_s=4 * FIRST_TOKEN_S)
    providers.do("primary", DEATHS[death])
    providers.do("fallback", WELL["fallback"])
    tried: list[list[int]] = []

    async def caller(gateway: Gateway) -> None:
        for _ in range(CALLS_COUNT):
            result, _ = await ask(gateway, "whole", "plain")
            assert not isinstance(result, FlowaiError), result
            assert result.text == TEXTS["fallback"]
            assert not result.degraded
            attempts = (await gateway.explain(result.call_id)).event.attempts
            tried.append([round(attempt.latency_ms or 0) for attempt in attempts if attempt.status == "error"])

    async def drill() -> None:
        async with Gateway(tmp_path, settings=Clocks().settings()) as gateway:
            await gateway.warm_up()
            await asyncio.gather(*(caller(gateway) for _ in range(CALLERS_COUNT)))

    asyncio.run(drill())
    assert len(tried) == CALLERS_COUNT * CALLS_COUNT
    waits_ms = [wait_ms for waits in tried for wait_ms in waits]
    assert 6 <= len(waits_ms) <= 6 + CALLERS_COUNT  # six open the breaker; all may have been under way by then
    assert all(len(waits) <= 1 for waits in tried)
    assert min(waits_ms) <= (FIRST_TOKEN_S + SLACK_S) * 1000
