"""The live overlay: a rollback in another process reaches running calls, and heartbeats say so."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, KEY, Sample, gathered, until, until_answered_by

from flowai.errors import RegistryError
from flowai.state import Overlay, open_state

if TYPE_CHECKING:
    from flowai.gateway.gateway import Gateway
    from flowai.state import StateStore


NOON = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)


async def until_reread(gateway: Gateway) -> None:
    """Wait until the gateway has, by itself, seen one more change."""
    before = (await gateway.status()).models

    async def seen() -> bool:
        return (await gateway.status()).models != before

    await until(seen)


def overlay(epoch: int, **facts: Any) -> Overlay:
    return Overlay(epoch=epoch, at=NOON, **facts)


def in_rollout(project: Sample, stage: Any = 100) -> None:
    project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v2"}}
    project.registry["rollout"] = {"candidate": "v2", "stage": stage}
    project.write()


def store(project: Sample) -> StateStore:
    """Open the shared state as a rollback in another process does."""
    return open_state(".flowai", project.root, clock_s=time.time)


def test_a_rollback_reaches_calls_and_heartbeats(project: Sample) -> None:
    in_rollout(project)

    async def served() -> None:
        other = store(project)
        async with project.gateway() as gateway, project.gateway() as second:
            for each in (gateway, second):
                assert (await each.complete("chat", HELLO, user="ann")).release == "v2"

            async def heard(release: str, candidate: str | None, epoch: int) -> bool:
                beats = await other.heartbeats("")
                return [(beat.release, beat.candidate, beat.overlay_epoch) for beat in beats] == [
                    (release, candidate, epoch)
                ] * 2

            await until(lambda: heard("v1", "v2", 0))
            await other.write_overlay("", overlay(1, bad=("v2",), ends_rollout_of="v2"))
            await asyncio.sleep(0.05)
            for each in (gateway, second):
                answer = await each.complete("chat", HELLO, user="ann")
                assert answer.release == "v1"
                assert answer.variant is None
            await until(lambda: heard("v1", None, 1))
            assert (await gateway.status()).candidate is None
            assert len({beat.process for beat in await other.heartbeats("")}) == 2
        assert list(await other.heartbeats("")) == [], "who ends in good order is gone"
        await other.aclose()

    asyncio.run(served())


def test_the_overlay_s_release_wins_over_the_registry_s_until_it_is_cleared(project: Sample) -> None:
    project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v2"}}
    project.registry["releases"]["v3"] = {"extends": "v1"}
    project.registry["current"] = "v2"
    project.write()

    async def served() -> None:
        other = store(project)
        async with project.gateway() as gateway:
            for written, release in (
                (None, "v2"),
                (overlay(1, release="v1", bad=("v2",)), "v1"),
                (overlay(2, release="v3", bad=("v2", "v1")), "v3"),
                (None, "v2"),
                (overlay(1, release="v3"), "v3"),  # an epoch that was used before says something else now
            ):
                if written is None:
                    await other.clear_overlay("")
                else:
                    await other.write_overlay("", written)
                await asyncio.sleep(0.05)
                assert (await gateway.complete("chat", HELLO)).release == release
                assert (await gathered(gateway.stream("chat", HELLO)))[2].release == release
        await other.aclose()

    asyncio.run(served())


def test_a_bad_pin_is_skipped_with_a_warning(project: Sample) -> None:
    project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v2"}}
    project.write()

    async def served() -> None:
        other = store(project)
        async with project.gateway(environ={"LOOPBACK_KEY": KEY, "AI_MODEL_VERSION": "v2"}) as gateway:
            assert (await gateway.complete("chat", HELLO)).release == "v2"
            await other.write_overlay("", overlay(1, release="v1", bad=("v2",)))
            await asyncio.sleep(0.05)
            answer = await gateway.complete("chat", HELLO)
            assert answer.release == "v1"
            explanation = await gateway.explain(answer.call_id)
            assert any("v2" in warning for warning in explanation.warnings or ())
            assert any("v2" in warning for warning in (await gateway.status()).warnings)
        await other.aclose()

    asyncio.run(served())


def test_when_every_release_is_bad_calls_fail_and_recover(project: Sample) -> None:
    async def served() -> None:
        other = store(project)
        async with project.gateway() as gateway:
            await gateway.complete("chat", HELLO)
            await other.write_overlay("", overlay(1, bad=("v1",)))
            await asyncio.sleep(0.05)
            with pytest.raises(RegistryError, match="bad"):
                await gateway.complete("chat", HELLO)
            standing = await gateway.status()
            assert standing.release is None
            assert any("bad" in warning for warning in standing.warnings)
            await asyncio.sleep(0.3)
            await other.clear_overlay("")
            await until_answered_by(gateway, "v1")
            project.registry["models"]["new"] = project.registry["models"]["main"]
            project.write()
            await until_reread(gateway)  # it did not stop looking
        await other.aclose()

    asyncio.run(served())
