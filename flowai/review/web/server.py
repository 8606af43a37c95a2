"""Server of the review page: loopback only, for one reviewer."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.review.web.app import ReviewApp
from flowai.review.web.login import LoginToken
from flowai.server.http.listener import LOOPBACK, quiet_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from flowai.review.queue import PageQueue

_MAX_CONNECTIONS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Addresses:
    """Addresses of the page, with their tokens."""

    reusable: str
    """Valid until the server ends; for the terminal."""
    single_use: str
    """Valid once; for a browser that is started with it."""


@asynccontextmanager
async def serve_review_page(
    queue: PageQueue,
    *,
    port: int,
    random_bytes: Callable[[int], bytes],
    on_bug: Callable[[BaseException], None] = lambda _: None,
) -> AsyncIterator[Addresses]:
    """Serve a review queue while the block runs; port 0 means a free port."""
    token = LoginToken(random_bytes)
    server = quiet_server(ReviewApp(queue, token, on_bug=on_bug), max_connections=_MAX_CONNECTIONS)
    try:
        base = f"http://{LOOPBACK}:{await server.start(LOOPBACK, port)}/?token="
        yield Addresses(reusable=base + token.token, single_use=base + token.single_use_token)
    finally:
        await server.stop()
