"""A client that must not be used, for tests of the clients before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.providers.client import Endpoint


class NoClient:
    """The other client, of a test in which it must not be used."""

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        assert not endpoints

    async def aclose(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"`{name}` of the other client was used")
