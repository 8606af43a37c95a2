"""One connection to Redis, shared by all who ask at once.

In: commands. Out: replies, or one error that says where and why, never with a password. Must never know keys or
scripts.

Whoever asks while an exchange is under way goes with the next one, together with all others who do: two hundred
callers cost two round trips and need no more connections than one. And when Redis is away they learn it together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from flowai.errors import InfrastructureError
from flowai.state.address import redis_host, shown_address, without_password

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from redis.asyncio.connection import AbstractConnection

Done = TypeVar("Done")
Command = tuple[str | bytes | float, ...]

CONNECT_LIMIT_S = 0.25
ANSWER_LIMIT_S = 0.25
_GRACE_S = 0.02
_MOST_TOGETHER_COUNT = 128  # so that one exchange stays far below its limit


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """What one caller asks.

    Args:
        commands: sent together, in order.
        answer: gets a reply for each.
    """

    commands: tuple[Command, ...]
    answer: asyncio.Future[list[Any]]


class RedisLine:
    """A connection that is made at the first use, in the event loop that uses it, and again after it broke.

    Args:
        url: as the redis library reads it.

    Raises:
        ValueError: the URL cannot be read; the message quotes nothing of it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = _connection(url)
        self._waiting: deque[_Asked] = deque()
        self._carrier: asyncio.Task[None] | None = None

    async def ask(self, *commands: Command) -> list[Any]:
        """Send commands and give their replies: bytes, integers, lists; a refused command's is a ResponseError.

        Raises:
            InfrastructureError: no connection, or no answer, within the limits.
        """
        asked = _Asked(commands=commands, answer=asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._carrier is None:
            self._carrier = asyncio.create_task(self._carry())
        return await asked.answer

    def away(self, said: str) -> InfrastructureError:
        """Phrase why Redis cannot be used; a server may quote what it was sent, the password included."""
        return InfrastructureError(
            f"the shared state at `{shown_address(self._url)}` is away: {without_password(said, self._url)}",
            hint="see whether Redis runs there and lets us in",
        )

    async def aclose(self) -> None:
        """Close the connection; the next use makes another."""
        if self._carrier is not None:
            self._carrier.cancel()
            await asyncio.wait({self._carrier})
        await self._connection.disconnect(nowait=True)

    async def _carry(self) -> None:
        """Exchange until nobody waits."""
        together: list[_Asked] = []
        said = "the connection was closed"
        try:
            while self._waiting:
                together = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_TOGETHER_COUNT))]
                await self._exchange(together)
        except TimeoutError:
            said = f"no answer within {ANSWER_LIMIT_S} s"
        except (RedisError, OSError) as error:
            said = str(error)
        finally:
            self._carrier = None
            for asked in (*together, *self._waiting):
                if not asked.answer.done():
                    asked.answer.set_exception(self.away(said))
            self._waiting.clear()

    async def _exchange(self, together: Sequence[_Asked]) -> None:
        if not await self._is_connected():
            await _within(CONNECT_LIMIT_S, self._connection.connect_check_health(check_health=False))
        commands = [command for asked in together for command in asked.commands]
        replies = iter(await _within(ANSWER_LIMIT_S, self._send(commands)))
        for asked in together:
            found = list(islice(replies, len(asked.commands)))
            if not asked.answer.done():  # its caller may have left
                asked.answer.set_result(found)

    async def _is_connected(self) -> bool:
        """Say whether the connection can be used; one that was closed from there meanwhile cannot."""
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


async def _within(limit_s: float, act: Coroutine[Any, Any, Done]) -> Done:
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
