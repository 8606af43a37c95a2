"""What the HTTP server needs of a gateway: to ask, to stream, to embed, to note feedback, and how things stand.

In: nothing. Out: a protocol. Must never know HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from flowai.events import Verdict
    from flowai.gateway.records import Answer, Ask, OnBreak, Standing, StreamItem
    from flowai.providers import Embeddings


class Answering(Protocol):
    """A gateway, as far as HTTP needs it; see `flowai.gateway.gateway.Gateway` for what each method promises."""

    async def ask(self, ask: Ask) -> Answer:
        """Give a whole answer."""
        ...

    def ask_stream(self, ask: Ask, *, on_break: OnBreak = "error") -> AsyncGenerator[StreamItem]:
        """Give an answer piece by piece."""
        ...

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """Give one vector per text."""
        ...

    async def feedback(
        self, call_id: str, *, verdict: Verdict, text: str | None = None, user: str | None = None
    ) -> None:
        """Note what a person made of an answer."""
        ...

    async def standing(self) -> Standing:
        """Say how things stand; asked with every request."""
        ...

    async def warm_up(self) -> None:
        """Do now what the first call would wait for."""
        ...
