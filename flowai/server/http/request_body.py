"""Reads a request's body, one JSON object with limits of size, time and memory, and converts it into a record."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from flowai.server.errors import OVERLOAD_RETRY_AFTER_S, ClientGoneError, RefusedError, error_response
from flowai.storage.record_errors import record_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from flowai.registry import Serve

Record = TypeVar("Record", bound=msgspec.Struct)

MAX_DEPTH = 64  # more than any real tool schema has, less than the recursion limit
MAX_BODY_MEMORY_BYTES = 256 << 20
"""Bytes of all bodies of requests without a slot."""


class BodyMemory:
    """Bytes of the bodies of requests without a slot, which arrive or wait: only their sum is limited."""

    def __init__(self, max_bytes: int = MAX_BODY_MEMORY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._byte_count = 0

    @contextmanager
    def share(self) -> Iterator[BodyShare]:
        """Count the body of one request, at most while the block runs."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            share.release()

    def add(self, byte_count: int, *, share_bytes: int) -> None:
        """Count bytes of a share that then has `share_bytes`, or release them if negative.

        Raises:
            RefusedError: 503, too many; a body that is alone is limited by `max_body_bytes` only.
        """
        self._byte_count += byte_count
        if byte_count > 0 and self._byte_count > max(self._max_bytes, share_bytes):
            text = f"the gateway already holds {self._byte_count - share_bytes:,} bytes of other requests"
            raise error_response(
                503, text, code="overloaded", retry_after_s=OVERLOAD_RETRY_AFTER_S, headers={"connection": "close"}
            )


class BodyShare:
    """The part of one request in the memory of bodies."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._byte_count = 0

    def add(self, byte_count: int) -> None:
        """Count received bytes; raises as `BodyMemory.add`."""
        self._byte_count += byte_count
        self._memory.add(byte_count, share_bytes=self._byte_count)

    def release(self) -> None:
        """Count them no longer; may be called twice."""
        self._memory.add(-self._byte_count, share_bytes=0)
        self._byte_count = 0


async def read_json_object(request: Request, limits: Serve, share: BodyShare) -> dict[str, Any]:
    """Read the body as one JSON object.

    Raises:
        RefusedError: 415 another content type, 413 too long, 408 too slow, 503 too many bodies at the same time,
            400 not a JSON object or too deep.
        ClientGoneError: the caller disconnected.
    """
    _check_type(request)
    return _parse_json_object(await _read(request, limits, share))


def _parse_json_object(raw: bytearray) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        problem = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise error_response(400, f"the body is not valid JSON: {problem}", code="invalid_json") from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(value, dict):
        raise error_response(400, "the body is not a JSON object", code="invalid_json")
    if _is_deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    return value


def decode_body(value: dict[str, Any], record: type[Record]) -> Record:
    """Convert a parsed body into a record.

    Raises:
        RefusedError: 400, with the parameter, found and expected.
    """
    try:
        return msgspec.convert(value, record)
    except msgspec.ValidationError as error:
        raise _validation_error(str(error)) from None


def _check_type(request: Request) -> None:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # a form or plain text is also what a page in a browser can send without a CORS preflight
    if content_type != "application/json":
        raise error_response(415, "send the body as `content-type: application/json`", code="unsupported_media_type")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise error_response(415, "compressed bodies are not supported", code="unsupported_media_type")


async def _read(request: Request, limits: Serve, share: BodyShare) -> bytearray:
    parts = bytearray()
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limits.max_body_bytes:
        raise _too_long(limits)
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                part = message.get("body", b"")
                parts += part
                share.add(len(part))
                if len(parts) > limits.max_body_bytes:
                    raise _too_long(limits)
                if not message.get("more_body", False):
                    return parts
    except TimeoutError:
        raise error_response(
            408,
            f"the body did not arrive within {limits.body_timeout}",
            code="body_timeout",
            headers={"connection": "close"},
        ) from None


def _too_long(limits: Serve) -> RefusedError:
    return error_response(413, f"the body is longer than {limits.max_body_bytes:,} bytes", code="body_too_large")


def _too_deep() -> RefusedError:
    return error_response(400, f"the body is nested more than {MAX_DEPTH} levels deep", code="invalid_json")


def _is_deeper_than(value: object, max_depth: int) -> bool:
    """Check level by level, without recursion."""
    level = [value]
    for _ in range(max_depth):
        level = [child for parent in level for child in _children(parent) if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _validation_error(text: str) -> RefusedError:
    """Convert msgspec's message into an error; its path becomes OpenAI's `param`."""
    kind, path, what = record_problem(text)
    if kind == "unknown":
        return error_response(400, f"`{path}` is not supported", code="unsupported_parameter", param=path)
    if kind == "missing":
        return error_response(400, f"`{path}` is missing", code="missing_required_parameter", param=path)
    return error_response(400, f"`{path or 'body'}`: {what}", code="invalid_type", param=path or None)
