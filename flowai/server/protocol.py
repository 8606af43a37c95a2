"""Protocol of the gateway for the HTTP server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from flowai.events import FeedbackVerdict
    from flowai.gateway.records import CompletionRequest, CompletionResult, GatewayStatus, OnStreamBreak, StreamEvent
    from flowai.providers import Embeddings


class GatewayProtocol(Protocol):
    """The methods that the HTTP server uses; `flowai.gateway.gateway.Gateway` documents them."""

    async def complete_request(self, ask: CompletionRequest) -> CompletionResult:
        """Return a complete answer."""
        ...

    def stream_request(
        self, ask: CompletionRequest, *, on_break: OnStreamBreak = "error"
    ) -> AsyncGenerator[StreamEvent]:
        """Yield an answer in chunks."""
        ...

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """Return one vector per text."""
        ...

    async def feedback(
        self,
        call_id: str,
        *,
        verdict: FeedbackVerdict,
        text: str | None = None,
        user: str | None = None,
        must_exist: bool = False,
        tenant: str | None = None,
    ) -> None:
        """Record a user's feedback on an answer."""
        ...

    async def score(
        self,
        call_id: str,
        *,
        name: str,
        passed: bool,
        score: float | None = None,
        judge: str | None = None,
        must_exist: bool = False,
        tenant: str | None = None,
    ) -> None:
        """Record a judge's score of an answer."""
        ...

    async def status(self) -> GatewayStatus:
        """Return the status; called for every request."""
        ...

    async def warm_up(self) -> None:
        """Load now what the first call needs."""
        ...
