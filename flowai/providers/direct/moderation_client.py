"""Calls moderation endpoints over flowai's own connections."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flowai.providers.failures import deadline_error, malformed_error
from flowai.providers.openai.moderation import flagged_categories, moderation_request
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.providers.client import Endpoint
    from flowai.providers.http.connections import Connections

TIMEOUT_S = 30.0


class ModerationClient:
    """Client of endpoints that speak OpenAI's moderation protocol; close it with `aclose`.

    Args:
        redactor: removes secrets from error messages.
        clock_s: monotonic clock.
        now: returns the time, UTC.
    """

    def __init__(
        self,
        *,
        redactor: Redactor | None = None,
        clock_s: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._redactor = redactor or Redactor()
        self._clock_s = clock_s
        self._now = now
        self._connections: Connections | None = None

    async def flagged(self, endpoint: Endpoint, text: str) -> tuple[str, ...]:
        """Return the categories for which the endpoint flags a text.

        Raises:
            CallError: the call failed.
        """
        # late: aiohttp takes 0.1 s to import
        from flowai.providers.direct.call_errors import call_error
        from flowai.providers.direct.chat_call import FAILURES, read_body
        from flowai.providers.http.connections import Connections

        self._connections = self._connections or Connections()
        started_s = self._clock_s()
        limit = asyncio.timeout(TIMEOUT_S)
        try:
            async with limit:
                body = await read_body(moderation_request(endpoint, text), self._connections, is_local=False)
            return flagged_categories(body)
        except ValueError as error:
            raise malformed_error(endpoint, str(error)) from None
        except FAILURES as error:
            if limit.expired():
                raise deadline_error(endpoint, "no verdict", TIMEOUT_S) from None
            elapsed_s = self._clock_s() - started_s
            raise call_error(
                error, endpoint=endpoint, elapsed_s=elapsed_s, now=self._now(), redactor=self._redactor
            ) from None

    async def aclose(self) -> None:
        """Close connections; may be called twice."""
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.aclose()
