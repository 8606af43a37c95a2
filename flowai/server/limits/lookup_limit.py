"""Limits for feedback and scores: their calls are looked up in the event log, which may take a while."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flowai.server.errors import OVERLOAD_RETRY_AFTER_S, error_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_LOOKUPS = 256
"""Feedback and scores at the same time."""
MAX_LOOKUPS_PER_TENANT = 64
LOOKUP_TIMEOUT_S = 10.0
"""Time for finding a call."""


class LookupLimit:
    """Counts the feedback and scores of one server that wait for their call; used within its event loop."""

    lookup_timeout_s = LOOKUP_TIMEOUT_S

    def __init__(self) -> None:
        self._counts: Counter[str | None] = Counter()

    @asynccontextmanager
    async def hold(self, tenant: str | None) -> AsyncIterator[None]:
        """Count a look-up of a tenant while the block runs.

        Raises:
            RefusedError: 429, the tenant has too many; 503, all tenants together have, or it takes too long.
        """
        if self._counts[tenant] >= MAX_LOOKUPS_PER_TENANT:
            text = f"{MAX_LOOKUPS_PER_TENANT} feedbacks and scores of this caller are already being recorded"
            raise error_response(429, text, code="too_many_lookups", retry_after_s=OVERLOAD_RETRY_AFTER_S)
        if self._counts.total() >= MAX_LOOKUPS:
            text = f"the gateway already records {MAX_LOOKUPS} feedbacks and scores, its limit"
            raise error_response(503, text, code="overloaded", retry_after_s=OVERLOAD_RETRY_AFTER_S)
        self._counts[tenant] += 1
        try:
            async with asyncio.timeout(self.lookup_timeout_s):
                yield
        except TimeoutError:
            text = "the event log is still being read; nothing was recorded"
            raise error_response(503, text, code="overloaded", retry_after_s=self.lookup_timeout_s) from None
        finally:
            self._counts[tenant] -= 1
            if not self._counts[tenant]:
                del self._counts[tenant]
