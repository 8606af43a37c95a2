"""The server of the review page: loopback only, a free port unless one is named, one reviewer."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.review.web.app import ReviewApp
from flowai.review.web.login import LoginToken
from flowai.server.http.listener import LOOPBACK, quiet_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from flowai.review.queue import ReviewQueue

_MAX_CONNECTIONS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Addresses:
    """Where the page is."""

    lasting: str
    """Lets in until the server ends; for a person's eyes."""
    once: str
    """Lets in once; for a browser that is started with it."""


@asynccontextmanager
async def serve_review_page(
    desk: ReviewQueue,
    *,
    port: int,
    random_bytes: Callable[[int], bytes],
    on_bug: Callable[[BaseException], None] = lambda _: None,
) -> AsyncIterator[Addresses]:
    """Serve a desk while the block runs.

    Args:
        desk: the desk.
        port: port, 0 to 65535; 0 takes a free one.
        random_bytes: gives that many bytes nobody can guess.
        on_bug: told of an exception that nothing expected.

    Raises:
        InfrastructureError: the port is taken or not ours to take.
    """
    entry = LoginToken(random_bytes)
    server = quiet_server(ReviewApp(desk, entry, on_bug=on_bug), max_connections=_MAX_CONNECTIONS)
    try:
        base = f"http://{LOOPBACK}:{await server.start(LOOPBACK, port)}/?token="
        yield Addresses(lasting=base + entry.token, once=base + entry.token_once)
    finally:
        await server.stop()
