"""The gateway for code without an event loop: the same calls, each blocking until its answer."""

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

STOP_TIMEOUT_S = 10.0
"""Longest wait for the thread to end."""


class _EventLoopThread:
    """Event loop in its own thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="flowai-gateway", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """The thread runs; a forked process has none."""
        return self._thread.is_alive() and not self._stopped.is_set()

    def stop(self) -> None:
        """Stop the thread; may be called twice and from any thread."""
        if self.is_alive:
            self.loop.call_soon_threadsafe(self._stopped.set)
            if threading.current_thread() is not self._thread:  # the garbage collector may run in any thread
                self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._wait())

    async def _wait(self) -> None:
        await self._stopped.wait()


def _blocking(
    method: Callable[Concatenate[Gateway, Parameters], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncGateway, Parameters], T]:
    """Build a blocking method with the parameters of the asynchronous one."""

    @wraps(method)
    def call(self: SyncGateway, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> T:
        return self._wait(method(self._gateway, *args, **kwargs))

    return call


class SyncGateway:
    """`Gateway` in its own thread; many threads may call it: `with SyncGateway() as gw`.

    If `close()` is never called, the gateway closes when it is garbage-collected. A process that ends before counts as
    killed: no event of a finished call is lost, and its heartbeat expires after some seconds.

    Arguments as for `Gateway`.
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
        self._finalizer = weakref.finalize(self, self._thread.stop)
        self._finalizer.atexit = False  # an exiting interpreter starts no threads, but closing needs some

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
        """Close the gateway and stop its thread; may be called twice. Calls in flight end with a UsageError."""
        try:
            if self._thread.is_alive:
                self._wait(self._gateway.aclose())
        finally:
            self._finalizer()

    complete = _blocking(Gateway.complete)
    embed = _blocking(Gateway.embed)
    feedback = _blocking(Gateway.feedback)
    score = _blocking(Gateway.score)
    explain = _blocking(Gateway.explain)
    status = _blocking(Gateway.status)
    warm_up = _blocking(Gateway.warm_up)

    def stream(
        self,
        feature: str | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        on_break: OnStreamBreak = "error",
        **options: Unpack[CompletionOptions],
    ) -> Iterator[StreamEvent]:
        """Yield an answer in chunks; see `Gateway.stream`. Closing the iterator ends the call."""
        items = self._gateway.stream(feature, variables, on_break=on_break, **options)
        try:
            while (item := self._wait(_next(items))) is not None:
                yield item
        finally:
            if self._thread.is_alive:
                self._wait(items.aclose())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if not self._thread.is_alive:
            work.close()
            raise UsageError("the gateway is closed", hint="create another one; a forked process needs its own")
        future = asyncio.run_coroutine_threadsafe(work, self._thread.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C: cancel the call
            raise


async def _next(items: AsyncGenerator[StreamEvent]) -> StreamEvent | None:
    return await anext(items, None)
