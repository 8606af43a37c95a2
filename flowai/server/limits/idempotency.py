"""`Idempotency-Key`: a retry of a request gets the answer of the first one, which is not paid twice.

A request with a key goes on when its caller disconnects: the answer waits for the retry.

Source: IETF, draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import InfrastructureError
from flowai.server.errors import OVERLOAD_RETRY_AFTER_S, ClientGoneError, error_response
from flowai.server.http.response_writer import ResponseWriter
from flowai.state.requests.store import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from flowai.server.auth import Caller
    from flowai.state.requests.store import RequestStore

HEADER = "idempotency-key"
REPLAY_HEADERS = {"x-flowai-idempotent-replay": "true"}
ANSWER_LIFETIME_S = 24 * 3600.0
LEASE_S = 60.0
"""A request that runs extends its claim; after a crash the key is free again after this time."""
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_OMITTED = re.compile("content-length|x-ratelimit-.*")


class StoredAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer that can be repeated."""

    status: int
    headers: dict[str, str]
    body: bytes


_decoder = msgspec.msgpack.Decoder(StoredAnswer)


class RecordingWriter(ResponseWriter):
    """Writer of a response that keeps what it writes, up to `MAX_ANSWER_BYTES`, also after its caller has left.

    `send_end` sends the last chunk once the answer is stored: a retry after the whole answer never finds it missing.
    """

    def __init__(self, writer: ResponseWriter) -> None:
        super().__init__(writer.send, writer.write_timeout_s)
        self._writer = writer
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size_bytes = 0
        self._end: bytes | None = None
        self._is_caller_gone = False

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head."""
        self.status = status
        self._headers = {name: text for name, text in headers.items() if _OMITTED.fullmatch(name) is None}
        await self._forward(self._writer.begin(status, headers))

    async def more(self, data: bytes) -> None:
        """Send a chunk."""
        self._keep(data)
        await self._forward(self._writer.more(data))

    async def end(self, data: bytes = b"") -> None:
        """Keep the last chunk."""
        self._keep(data)
        self._end = data

    async def send_end(self) -> None:
        """Send the last chunk, if there is one."""
        if self._end is not None:
            await self._forward(self._writer.end(self._end))

    async def _forward(self, writing: Coroutine[None, None, None]) -> None:
        if self._is_caller_gone:
            writing.close()
            return
        try:
            await writing
        except ClientGoneError:
            self._is_caller_gone = True

    def _keep(self, data: bytes) -> None:
        self._size_bytes += len(data)
        if self._size_bytes <= MAX_ANSWER_BYTES:
            self._parts.append(data)
        else:
            self._parts.clear()

    def answer(self) -> StoredAnswer | None:
        """Return the complete answer; None if it failed, has no end, or is too long."""
        if self.status is None or self.status >= 300 or self._end is None or self._size_bytes > MAX_ANSWER_BYTES:  # noqa: PLR2004 - HTTP's classes
            return None
        return StoredAnswer(status=self.status, headers=self._headers, body=b"".join(self._parts))


class IdempotentRequest:
    """A request that has claimed its idempotency key."""

    def __init__(self, store: RequestStore, key: str, body: str) -> None:
        self._store = store
        self._key = key
        self._body = body
        self._owner = uuid.uuid4().hex
        self._renewing: asyncio.Task[None] | None = None

    async def claim(self) -> StoredAnswer | None:
        """Claim the key, or return the stored answer.

        Raises:
            RefusedError: 409 a request with this key runs; 422 the key was used with another body.
        """
        claim = await self._store.claim(self._key, body=self._body, owner=self._owner, lease_s=LEASE_S)
        if claim.status == "answered":
            return _decoder.decode(claim.answer)
        if claim.status == "running":
            text = "a request with this `Idempotency-Key` is still running; send it again to get its answer"
            raise error_response(409, text, code="idempotency_key_in_use", retry_after_s=OVERLOAD_RETRY_AFTER_S)
        if claim.status == "mismatch":
            text = "this `Idempotency-Key` was used with another body; send each new request with a new key"
            raise error_response(422, text, code="idempotency_key_reused")
        self._renewing = asyncio.create_task(self._renew())
        return None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 3)
            with suppress(InfrastructureError):
                await self._store.claim(self._key, body=self._body, owner=self._owner, lease_s=LEASE_S)

    async def finish(self, answer: StoredAnswer | None) -> None:
        """Store the answer, or return the claim without one."""
        if self._renewing is not None:
            self._renewing.cancel()
        with suppress(InfrastructureError):  # the caller has its answer; a retry runs again when the lease ends
            if answer is None:
                await self._store.release(self._key, owner=self._owner)
            else:
                await self._store.store_answer(
                    self._key,
                    body=self._body,
                    owner=self._owner,
                    answer=msgspec.msgpack.encode(answer),
                    lifetime_s=ANSWER_LIFETIME_S,
                )


def idempotent_request(
    store: RequestStore, key: str, *, path: str, caller: Caller, body: dict[str, Any]
) -> IdempotentRequest:
    """Build the request of an `Idempotency-Key`; a key is of one caller, tenant and path.

    Raises:
        RefusedError: 400, the header is too long or not printable ASCII.
    """
    if _KEY.fullmatch(key) is None:
        text = f"the header `{HEADER}` is not printable ASCII without spaces, at most 255 characters"
        raise error_response(400, text, code="invalid_header", param=HEADER)
    owner = msgspec.json.encode([caller.tenant, caller.key, path, key])
    return IdempotentRequest(
        store, hashlib.sha256(owner).hexdigest(), hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()
    )
