"""Repeats a request without its response schema if the endpoint refuses it; the reply is then parsed tolerantly."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from flowai.errors import InvalidRequestError

if TYPE_CHECKING:
    from flowai.providers import Client, Completion, Request


class SchemaCompletion(NamedTuple):
    """Answer to a request with a response schema."""

    completion: Completion
    is_refused: bool
    """Whether the endpoint refused the schema and answered without."""


async def complete_without_refused_schema(client: Client, request: Request) -> SchemaCompletion:
    """Return the answer to a request, repeated once without its schema if the endpoint calls it invalid.

    Raises:
        CallError: the call failed.
    """
    try:
        return SchemaCompletion(await client.complete(request), is_refused=False)
    except InvalidRequestError:
        if request.response_schema is None:
            raise
    bare = msgspec.structs.replace(request, response_schema=None)
    return SchemaCompletion(await client.complete(bare), is_refused=True)
