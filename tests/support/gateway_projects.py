"""A project whose three models are scripted providers on loopback, and gateways on it."""

from __future__ import annotations

import asyncio
import inspect
import json
import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from flowai.events import AlertEvent, CallEvent, FeedbackEvent, read_events
from flowai.gateway.gateway import Gateway
from flowai.gateway.records import CompletionResult, TextChunk
from flowai.gateway.runtime import RuntimeOptions
from support.scripted_provider import Reply, ScriptedProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from flowai.gateway.records import StreamEvent

KEY = "pk9-loopback-8c7b6a5f4e3d2c1b0a99"  # of no known key shape: only an exact match can redact it
MODELS = {"main": "openai/gpt-4o-mini", "other": "openai/gpt-4o", "small": "openai/small-1"}
HELLO = {"text": "hello there"}
PROMPT = '---\ninput: {schema: {text: string}}\n---\n{{role "system"}}Prompt v%d.\n{{role "user"}}{{text}}\n'
PATIENCE_S = 240.0
"""Longest wait for what is immediate on an idle machine."""

Found = TypeVar("Found")
Given = TypeVar("Given")


@dataclass(kw_only=True)
class Sample:
    """A project with its providers.

    Args:
        root: where it lies.
        providers: who answers as `main`, `other` and `small`, models and providers of these names.
        registry: what the registry holds; change it, then `write`.
        told: events as gateways told them, before they were written.
    """

    root: Path
    providers: dict[str, ScriptedProvider]
    registry: dict[str, Any]
    told: list[Any] = field(default_factory=list)

    def write(self, path: str = "registry.yaml", text: str | None = None) -> None:
        """Write a file atomically; without a text the registry."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.new")
        beside.write_text(json.dumps(self.registry) if text is None else text, encoding="utf-8")
        beside.replace(file)

    def feature(self, name: str = "chat", **changes: Any) -> None:
        """Change a feature's entry, and write the registry."""
        self.registry["features"].setdefault(name, {}).update(changes)
        self.write()

    def settings(self, **changes: Any) -> RuntimeOptions:
        """Return settings with the providers' key."""
        facts: dict[str, Any] = {"environ": {"LOOPBACK_KEY": KEY}, "on_event": self.told.append, **changes}
        return RuntimeOptions(**facts)

    def gateway(self, **changes: Any) -> Gateway:
        """Return a gateway on the project."""
        return Gateway(self.root, settings=self.settings(**changes))

    def ask(self, feature: str | None = "chat", variables: Any = HELLO, **wishes: Any) -> CompletionResult:
        """Run one call with its own gateway."""

        async def asked() -> CompletionResult:
            async with self.gateway() as gateway:
                return await gateway.complete(feature, variables, **wishes)

        return asyncio.run(asked())

    @property
    def requests(self) -> dict[str, int]:
        """How many requests each provider got; those that got none are left out."""
        return {name: one.request_count for name, one in self.providers.items() if one.request_count}

    def logged(self, kind: type[Found]) -> list[Found]:
        """Read the events of a kind from the log."""
        torn: list[Any] = []
        events = list(read_events(self.root / ".flowai" / "events", on_unreadable=torn.append))
        assert torn == []
        return [event for event in events if isinstance(event, kind)]

    @property
    def calls(self) -> list[CallEvent]:
        """The call events of the log, by the time they came."""
        return sorted(self.logged(CallEvent), key=lambda event: event.at)

    @property
    def alerts(self) -> list[AlertEvent]:
        """The alert events of the log."""
        return self.logged(AlertEvent)

    @property
    def feedback(self) -> list[FeedbackEvent]:
        """The feedback events of the log."""
        return self.logged(FeedbackEvent)


def sample_registry(addresses: dict[str, str]) -> dict[str, Any]:
    """Return a registry with one feature: `main`, then `other`, then `small` as the last resort."""
    models = {
        name: {"model": MODELS[name], "api_base": address, "provider": name, "api_key": "${LOOPBACK_KEY}"}
        for name, address in addresses.items()
    }
    chat = {
        "fallback": ["other"],
        "degrade": {"to": "small", "disclaimer": "in short"},
        "timeout": {"first_token": "30s", "total": "90s"},
        "cache": {"kind": "none"},
    }
    binding = {"prompt": "prompts/hello_v1", "model": "main", "params": {"temperature": 0}}
    return {
        "schema_version": 1,
        "models": models,
        "features": {"chat": chat},
        "releases": {"v1": {"chat": binding}},
        "current": "v1",
        "history": ["v1"],
    }


@contextmanager
def sample(root: Path) -> Iterator[Sample]:
    """Write the sample project, with two versions of its prompt, and start its providers."""
    with ExitStack() as stack:
        providers = {
            name: stack.enter_context(ScriptedProvider(Reply(text=f"{name} says hello", model=f"{name}-1")))
            for name in MODELS
        }
        made = Sample(
            root=root.resolve(),
            providers=providers,
            registry=sample_registry({name: one.base_url for name, one in providers.items()}),
        )
        for version in (1, 2):
            made.write(f"prompts/hello_v{version}.prompt", PROMPT % version)
        made.write()
        yield made


async def until(found: Callable[[], Any]) -> None:
    """Wait until a condition, which may be awaitable, is true."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            is_so = found()
            if await is_so if inspect.isawaitable(is_so) else is_so:
                return
            await asyncio.sleep(0.005)


async def until_answered_by(gateway: Gateway, release: str) -> None:
    async def answers() -> bool:
        return (await gateway.complete("chat", HELLO)).release == release

    await until(answers)


async def until_troubled(gateway: Gateway, *degraded: str) -> None:
    async def stands() -> bool:
        return tuple((await gateway.status()).degraded) == degraded

    await until(stands)


async def gathered(items: AsyncIterator[StreamEvent]) -> tuple[list[StreamEvent], str, CompletionResult]:
    """Read a stream to its end; return all items, the text of its chunks, and the answer."""
    found = [item async for item in items]
    answer = found[-1]
    assert isinstance(answer, CompletionResult)
    return found, "".join(item.text for item in found if isinstance(item, TextChunk)), answer


def open_descriptors() -> set[str]:
    """Return this process's open files and sockets, by their targets."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115 - sockets have no path
        except FileNotFoundError:
            continue  # the listing's own
    return found


def fleet(work: Callable[[str, Given], Found], root: Path, given: Sequence[Given]) -> Future[list[Found]]:
    """Run work in one process per item, all starting at once.

    Args:
        work: a function of a module; it is told the project's root, and calls `together` when it is ready.
        root: the project's root.
        given: what each process gets.

    Returns:
        What each gave, in order, when all are done.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        len(given), mp_context=context, initializer=_join_fleet, initargs=(context.Barrier(len(given)),)
    )
    each = [pool.submit(work, str(root), one) for one in given]
    waiter = ThreadPoolExecutor(1)
    done = waiter.submit(lambda: [one.result() for one in each])
    done.add_done_callback(lambda _: pool.shutdown(wait=False))
    waiter.shutdown(wait=False)
    return done


def _join_fleet(barrier: Any) -> None:
    _FLEET.append(barrier)


_FLEET: list[Any] = []
"""In a process of a fleet: the barrier that it shares with the others."""


async def together() -> None:
    """Wait until every process of the fleet is here."""
    await asyncio.to_thread(_FLEET[0].wait, PATIENCE_S)
