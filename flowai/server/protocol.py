"""What the HTTP server needs of a gateway: to ask, to stream, to embed, to note feedback, and how things stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from flowai.events import FeedbackVerdict
    from flowai.gateway.records import CompletionRequest, CompletionResult, GatewayStatus, OnStreamBreak, StreamEvent
    from flowai.providers import Embeddings


class GatewayProtocol(Protocol):
    """A gateway, as far as HTTP needs it; see `flowai.gateway.gateway.Gateway` for what each method promises."""

    async def complete_request(self, ask: CompletionRequest) -> CompletionResult:
        """Give a whole answer."""
        ...

    def stream_request(
        self, ask: CompletionRequest, *, on_break: OnStreamBreak = "error"
    ) -> AsyncGenerator[StreamEvent]:
        """Give an answer piece by piece."""
        ...

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """Give one vector per text."""
        ...

    async def feedback(
        self, call_id: str, *, verdict: FeedbackVerdict, text: str | None = None, user: str | None = None
    ) -> None:
        """Note what a person made of an answer."""
        ...

    async def status(self) -> GatewayStatus:
        """Say how things stand; asked with every request."""
        ...

    async def warm_up(self) -> None:
        """Do now what the first call would wait for."""
        ...
