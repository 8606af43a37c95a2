"""The gateway for code without an event loop: the same calls, each waiting for its answer."""

from __future__ import annotations

import asyncio
import threading
import weakref
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from flowai.errors import UsageError
from flowai.gateway.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
    from pathlib import Path

    from flowai.events import Origin
    from flowai.gateway.records import CompletionOptions, OnStreamBreak, StreamEvent
    from flowai.gateway.runtime import RuntimeOptions

T = TypeVar("T")
Parameters = ParamSpec("Parameters")

END_LIMIT_S = 10.0
"""Longest wait for the thread to end."""


class _EventLoopThread:
    """An event loop in a thread of its own, which ends its tasks and closes itself when it is told to."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="flowai-gateway", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it can work; a process that was forked has no threads."""
        return self._thread.is_alive() and not self._over.is_set()

    def stop(self) -> None:
        """End it; may be called twice, and from any thread."""
        if self.is_alive:
            self.loop.call_soon_threadsafe(self._over.set)
            if threading.current_thread() is not self._thread:  # the garbage collector may run anywhere
                self._thread.join(END_LIMIT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._wait())

    async def _wait(self) -> None:
        await self._over.wait()


def _waiting(
    method: Callable[Concatenate[Gateway, Parameters], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncGateway, Parameters], T]:
    """Build the method that waits for the gateway's own, with the same parameters."""

    @wraps(method)
    def call(self: SyncGateway, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> T:
        return self._wait(method(self._gateway, *args, **kwargs))

    return call


class SyncGateway:
    """`Gateway` on a thread of its own; many threads may call it. `with SyncGateway() as gw`.

    What nobody closed is closed when nobody refers to it any more. Where the process ends before, it is as if it had
    been killed: no event of a finished call is lost, and it counts as gone a few seconds later.

    Args:
        start: the project's directory, or one below it.
        env: the environment (`prod`); None for FLOWAI_ENV or none.
        origin: what the events say the calls are for.
        settings: what is handed in from outside; None for the usual.
    """

    def __init__(
        self,
        start: str | Path = ".",
        *,
        env: str | None = None,
        origin: Origin = "library",
        settings: RuntimeOptions | None = None,
    ) -> None:
        self._gateway = Gateway(start, env=env, origin=origin, settings=settings)
        self._thread = _EventLoopThread()
        self._end = weakref.finalize(self, self._thread.stop)
        self._end.atexit = False  # an ending interpreter starts no threads, and to close takes some

    def __enter__(self) -> Self:
        try:
            self._wait(self._gateway.open())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the gateway and end its thread; may be called twice. Calls under way end with a UsageError."""
        try:
            if self._thread.is_alive:
                self._wait(self._gateway.aclose())
        finally:
            self._end()

    complete = _waiting(Gateway.complete)
    embed = _waiting(Gateway.embed)
    feedback = _waiting(Gateway.feedback)
    score = _waiting(Gateway.score)
    explain = _waiting(Gateway.explain)
    status = _waiting(Gateway.status)
    warm_up = _waiting(Gateway.warm_up)

    def stream(
        self,
        feature: str | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        on_break: OnStreamBreak = "error",
        **wishes: Unpack[CompletionOptions],
    ) -> Iterator[StreamEvent]:
        """Give an answer piece by piece; see `Gateway.stream`. Closing the iterator ends the call."""
        items = self._gateway.stream(feature, variables, on_break=on_break, **wishes)
        try:
            while (item := self._wait(_next(items))) is not None:
                yield item
        finally:
            if self._thread.is_alive:
                self._wait(items.aclose())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if not self._thread.is_alive:
            work.close()
            raise UsageError("the gateway is closed", hint="make another one; a forked process needs one of its own")
        future = asyncio.run_coroutine_threadsafe(work, self._thread.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C: the call is not left running
            raise


async def _next(items: AsyncGenerator[StreamEvent]) -> StreamEvent | None:
    return await anext(items, None)
