"""Redis connection, shared by all concurrent callers.

Commands that arrive during an exchange are pipelined into the next: two hundred callers need two round trips, and all
fail at once when Redis is unreachable. No error quotes the URL's password.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from flowai.errors import InfrastructureError
from flowai.state.store import StateRefusedError
from flowai.state.urls import redis_host, shown_address, without_password

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from redis.asyncio.connection import AbstractConnection

CommandResult = TypeVar("CommandResult")
Command = tuple[str | bytes | float, ...]

CONNECT_TIMEOUT_S = 0.25
REPLY_TIMEOUT_S = 0.25
_GRACE_S = 0.02
_MAX_PIPELINE = 128  # keeps one exchange far below its timeout


@dataclass(frozen=True, kw_only=True, slots=True)
class _PendingCommand:
    """Commands of one caller, sent together."""

    commands: tuple[Command, ...]
    replies: asyncio.Future[list[Any]]
    """Resolves to one reply per command."""


class RedisConnection:
    """Connection that opens at its first use, in that event loop, and reopens after it broke.

    Errors name `purpose`. For `pause_s` after a failure, all commands fail at once. `clock_s` is monotonic. Raises
    ValueError if the URL cannot be parsed; the message quotes nothing of it.
    """

    def __init__(
        self, url: str, *, purpose: str, pause_s: float = 0.0, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._purpose = purpose
        self._pause_s = pause_s
        self._clock_s = clock_s
        self._unavailable_reason: str | None = None
        self._try_at_s = 0.0
        self._connection = _connection(url)
        self._pending: deque[_PendingCommand] = deque()
        self._sender: asyncio.Task[None] | None = None

    async def send(self, *commands: Command) -> list[Any]:
        """Send commands and return their replies: bytes, integers, lists; a ResponseError for a refused command."""
        if self._unavailable_reason is not None:
            now_s = self._clock_s()
            if now_s < self._try_at_s:
                raise self.unavailable(self._unavailable_reason)
            self._try_at_s = now_s + self._pause_s  # the other callers do not wait for this attempt
        pending = _PendingCommand(commands=commands, replies=asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_pending())
        return await pending.replies

    async def run(self, *commands: Command) -> list[Any]:
        """Send commands and return their replies; raises InfrastructureError also if one was refused."""
        return [self.check_reply(reply) for reply in await self.send(*commands)]

    async def run_transaction(self, *commands: Command) -> list[Any]:
        """Send commands that Redis runs all or none; otherwise as `run`."""
        *_, replies = await self.run(("MULTI",), *commands, ("EXEC",))
        return [self.check_reply(reply) for reply in replies]

    def check_reply(self, reply: Any) -> Any:  # noqa: ANN401 - any reply
        """Return a reply; raises StateRefusedError if Redis refused the command (read-only, full memory)."""
        if isinstance(reply, ResponseError):
            raise StateRefusedError(
                self._text("refused", str(reply)),
                hint="check that this Redis is no replica, has memory and disk, and lets this user write",
            )
        return reply

    def unavailable(self, reason: str) -> InfrastructureError:
        """Build the error of an unusable Redis."""
        return InfrastructureError(
            self._text("is unreachable", reason), hint="check that Redis runs there and accepts this user"
        )

    def _text(self, verb: str, reason: str) -> str:
        reason = without_password(reason, self._url)  # a server may echo it
        return f"{self._purpose} at `{shown_address(self._url)}` {verb}: {reason}"

    async def aclose(self) -> None:
        """Close the connection; the next use opens another."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait({self._sender})
        await self._connection.disconnect(nowait=True)

    async def _send_pending(self) -> None:
        """Exchange until no caller waits."""
        batch: list[_PendingCommand] = []
        reason = "the connection was closed"
        try:
            while self._pending:
                batch = [self._pending.popleft() for _ in range(min(len(self._pending), _MAX_PIPELINE))]
                await self._exchange(batch)
                self._unavailable_reason = None
        except TimeoutError:
            reason = self._mark_unavailable(f"no reply within {REPLY_TIMEOUT_S} s")
        except (RedisError, OSError) as error:
            reason = self._mark_unavailable(str(error))
        finally:
            self._sender = None
            for pending in (*batch, *self._pending):
                if not pending.replies.done():
                    pending.replies.set_exception(self.unavailable(reason))
            self._pending.clear()

    def _mark_unavailable(self, reason: str) -> str:
        self._unavailable_reason, self._try_at_s = reason, self._clock_s() + self._pause_s
        return reason

    async def _exchange(self, batch: Sequence[_PendingCommand]) -> None:
        if not await self._is_connected():
            await _within(CONNECT_TIMEOUT_S, self._connection.connect_check_health(check_health=False))
        commands = [command for pending in batch for command in pending.commands]
        replies = iter(await _within(REPLY_TIMEOUT_S, self._send_and_read(commands)))
        for pending in batch:
            replies_of_pending = list(islice(replies, len(pending.commands)))
            if not pending.replies.done():  # its caller may have left
                pending.replies.set_result(replies_of_pending)

    async def _is_connected(self) -> bool:
        """Return whether the connection is usable; closes one that the server has closed."""
        if self._connection.is_connected and await self._connection.can_read():
            await self._connection.disconnect(nowait=True)
        return bool(self._connection.is_connected)

    async def _send_and_read(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connection
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as refused:
                replies.append(refused)
        return replies


async def _within(timeout_s: float, work: Coroutine[Any, Any, CommandResult]) -> CommandResult:
    """Await `work` for at most `timeout_s`, plus one short read of what has already arrived.

    Time in which this process was busy is not the server's: a reply in the socket buffer at the timeout is still read.
    `asyncio.timeout` would discard it. After a TimeoutError, `work` was cancelled, which closes the connection.
    """
    task = asyncio.ensure_future(work)
    try:
        for wait_s in (timeout_s, _GRACE_S):
            if (await asyncio.wait({task}, timeout=wait_s))[0]:
                return task.result()
    finally:
        task.cancel()
    await asyncio.wait({task}, timeout=_GRACE_S)
    raise TimeoutError


def _connection(url: str) -> AbstractConnection:
    redis_host(url)
    try:
        pool = ConnectionPool.from_url(  # parses the URL
            url,
            socket_timeout=None,  # timeouts are set in `_exchange`
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),  # the library's default retries for seconds
            protocol=2,  # 3 subscribes to push messages, in more round trips
            driver_info=None,  # saves a round trip
        )
        connection: AbstractConnection = pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError):
        raise ValueError("a setting after `?` is unknown or wrong") from None  # the original may quote a password
    return connection
