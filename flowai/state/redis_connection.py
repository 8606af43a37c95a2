"""One connection to Redis, shared by all concurrent callers.

Commands that are asked for during an exchange go together in the next one: two hundred callers cost two round trips,
and all of them learn at once that Redis is away. No error quotes the URL's password.
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
from flowai.state.urls import redis_host, shown_address, without_password

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from redis.asyncio.connection import AbstractConnection

CommandResult = TypeVar("CommandResult")
Command = tuple[str | bytes | float, ...]

CONNECT_LIMIT_S = 0.25
ANSWER_LIMIT_S = 0.25
_GRACE_S = 0.02
_MAX_PIPELINE = 128  # so that one exchange stays far below its limit


@dataclass(frozen=True, kw_only=True, slots=True)
class _PendingCommand:
    """What one caller asks."""

    commands: tuple[Command, ...]
    """Sent together, in order."""
    answer: asyncio.Future[list[Any]]
    """Gets a reply for each."""


class RedisConnection:
    """A connection that is made at the first use, in the event loop that uses it, and again after it broke.

    Args:
        url: as the redis library reads it.
        purpose: what Redis is used for, as errors name it.
        pause_s: seconds, >= 0, in which no new attempt is made while Redis is away: all commands fail at once.
        clock_s: monotonic.

    Raises:
        ValueError: the URL cannot be read; the message quotes nothing of it.
    """

    def __init__(
        self, url: str, *, purpose: str, pause_s: float = 0.0, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._purpose = purpose
        self._pause_s = pause_s
        self._clock_s = clock_s
        self._away: str | None = None
        self._try_at_s = 0.0
        self._connection = _connection(url)
        self._waiting: deque[_PendingCommand] = deque()
        self._carrier: asyncio.Task[None] | None = None

    async def ask(self, *commands: Command) -> list[Any]:
        """Send commands and return their replies: bytes, integers, lists; a refused command's is a ResponseError.

        Raises:
            InfrastructureError: no connection, or no answer, within the limits.
        """
        if self._away is not None:
            now_s = self._clock_s()
            if now_s < self._try_at_s:
                raise self.unavailable(self._away)
            self._try_at_s = now_s + self._pause_s  # the other callers do not wait for this attempt
        asked = _PendingCommand(commands=commands, answer=asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._carrier is None:
            self._carrier = asyncio.create_task(self._carry())
        return await asked.answer

    async def run(self, *commands: Command) -> list[Any]:
        """Send commands and return their replies, of which none is an error.

        Raises:
            InfrastructureError: no connection, no answer within the limits, or a command was refused.
        """
        return [self.accepted(reply) for reply in await self.ask(*commands)]

    async def run_transaction(self, *commands: Command) -> list[Any]:
        """Send commands that Redis runs as one, or not at all; as `run` otherwise."""
        *_, replies = await self.run(("MULTI",), *commands, ("EXEC",))
        return [self.accepted(reply) for reply in replies]

    def accepted(self, reply: Any) -> Any:  # noqa: ANN401 - any reply
        """Return a reply, unless it is Redis's refusal: Redis is there, but full, or forbids the command.

        Raises:
            InfrastructureError: it is.
        """
        if isinstance(reply, ResponseError):
            raise self._error("refused", str(reply))
        return reply

    def unavailable(self, said: str) -> InfrastructureError:
        """Build the error of a Redis that cannot be used."""
        return self._error("is away", said)

    def _error(self, verb: str, said: str) -> InfrastructureError:
        return InfrastructureError(  # a server may quote what it was sent, the password included
            f"{self._purpose} at `{shown_address(self._url)}` {verb}: {without_password(said, self._url)}",
            hint="see whether Redis runs there and lets us in",
        )

    async def aclose(self) -> None:
        """Close the connection; the next use makes another."""
        if self._carrier is not None:
            self._carrier.cancel()
            await asyncio.wait({self._carrier})
        await self._connection.disconnect(nowait=True)

    async def _carry(self) -> None:
        """Exchange until no caller waits."""
        together: list[_PendingCommand] = []
        said = "the connection was closed"
        try:
            while self._waiting:
                together = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_PIPELINE))]
                await self._exchange(together)
                self._away = None
        except TimeoutError:
            said = self._lost(f"no answer within {ANSWER_LIMIT_S} s")
        except (RedisError, OSError) as error:
            said = self._lost(str(error))
        finally:
            self._carrier = None
            for asked in (*together, *self._waiting):
                if not asked.answer.done():
                    asked.answer.set_exception(self.unavailable(said))
            self._waiting.clear()

    def _lost(self, said: str) -> str:
        self._away, self._try_at_s = said, self._clock_s() + self._pause_s
        return said

    async def _exchange(self, together: Sequence[_PendingCommand]) -> None:
        if not await self._is_connected():
            await _within(CONNECT_LIMIT_S, self._connection.connect_check_health(check_health=False))
        commands = [command for asked in together for command in asked.commands]
        replies = iter(await _within(ANSWER_LIMIT_S, self._send(commands)))
        for asked in together:
            found = list(islice(replies, len(asked.commands)))
            if not asked.answer.done():  # its caller may have left
                asked.answer.set_result(found)

    async def _is_connected(self) -> bool:
        """Return whether the connection can be used; one that the server has closed meanwhile cannot."""
        if self._connection.is_connected and await self._connection.can_read():
            await self._connection.disconnect(nowait=True)
        return bool(self._connection.is_connected)

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connection
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as refused:
                replies.append(refused)
        return replies


async def _within(limit_s: float, act: Coroutine[Any, Any, CommandResult]) -> CommandResult:
    """Wait for an act, but not for longer than the limit.

    Time in which this process did something else is no silence of the server: an answer that lies there when the limit
    ends is still read. `asyncio.timeout` would throw it away.

    Raises:
        TimeoutError: the limit ended; the act was cancelled, which closes the connection.
    """
    task = asyncio.ensure_future(act)
    try:
        for patience_s in (limit_s, _GRACE_S):
            if (await asyncio.wait({task}, timeout=patience_s))[0]:
                return task.result()
    finally:
        task.cancel()
    await asyncio.wait({task}, timeout=_GRACE_S)
    raise TimeoutError


def _connection(url: str) -> AbstractConnection:
    redis_host(url)
    try:
        pool = ConnectionPool.from_url(  # reads the URL
            url,
            socket_timeout=None,  # the limits are ours
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),  # the library's default tries for seconds
            protocol=2,  # 3 asks for notices we do not read, in more round trips
            driver_info=None,  # nor does the server need to hear the library's name
        )
        connection: AbstractConnection = pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError):
        raise ValueError("a setting after `?` is unknown or wrong") from None  # the original may quote a password
    return connection
