"""Asks a Redis server for its version, its clock and whether it has vector sets."""

from __future__ import annotations

import asyncio

import msgspec

from flowai.state.factory import invalid_redis_url
from flowai.state.redis_connection import RedisConnection


class RedisFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of a server."""

    version: str
    time_s: float
    """Its clock, seconds since 1970."""
    has_vectors: bool

    @property
    def major(self) -> int:
        """First number of the version; 0 if it names none."""
        first = self.version.partition(".")[0]
        return int(first) if first.isdigit() else 0


def read_redis_facts(url: str) -> RedisFacts:
    """Ask a server.

    Raises:
        ProjectError: the URL is wrong.
        InfrastructureError: the server is unreachable or refuses.
    """
    try:
        return asyncio.run(_ask(url))
    except ValueError as error:
        raise invalid_redis_url(url, error) from None


async def _ask(url: str) -> RedisFacts:
    connection = RedisConnection(url, purpose="the shared state")
    try:
        info, time_reply = await connection.run(("INFO", "server"), ("TIME",))
        (vectors,) = await connection.send(("VCARD", "flowai:none"))
    finally:
        await connection.aclose()
    fields = dict(line.partition(b":")[::2] for line in info.splitlines())
    return RedisFacts(
        version=fields.get(b"redis_version", b"unknown").decode(errors="replace"),
        time_s=int(time_reply[0]) + int(time_reply[1]) / 1e6,
        has_vectors=not isinstance(vectors, Exception),
    )
