"""Reads a request's body: bounded in bytes and in time, one JSON object, checked against a record."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from flowai.server.errors import ClientGoneError, RefusedError, error_response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from flowai.registry import Serve

Record = TypeVar("Record", bound=msgspec.Struct)

MAX_DEPTH_COUNT = 64  # far above any real schema of a tool; below what any later step recurses into
_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"unknown field `(.*)`$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*)`$")


async def read_json_object(request: Request, limits: Serve) -> dict[str, Any]:
    """Read the body as one JSON object.

    Raises:
        RefusedError: 415 another content type, 413 too long, 408 too slow, 400 no JSON object or too deep.
        ClientGoneError: the caller left in the middle.
    """
    _check_type(request)
    raw = await _read(request, limits)
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        problem = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise error_response(400, f"the body is not valid JSON: {problem}", code="invalid_json") from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(value, dict):
        raise error_response(400, "the body is not a JSON object", code="invalid_json")
    if _is_deeper_than(value, MAX_DEPTH_COUNT):
        raise _too_deep()
    return value


def decode_body(value: dict[str, Any], record: type[Record]) -> Record:
    """Make a record of a parsed body.

    Raises:
        RefusedError: 400; names the parameter, what was found and what was expected.
    """
    try:
        return msgspec.convert(value, record)
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from None


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # besides being wrong, a form or plain text is what a page in a browser can send without asking first
    if kind != "application/json":
        raise error_response(415, "send the body as `content-type: application/json`", code="unsupported_media_type")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise error_response(415, "compressed bodies are not read; send it as it is", code="unsupported_media_type")


async def _read(request: Request, limits: Serve) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limits.max_body_bytes:
        raise _too_long(limits)
    parts = bytearray()
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                parts += message.get("body", b"")
                if len(parts) > limits.max_body_bytes:
                    raise _too_long(limits)
                if not message.get("more_body", False):
                    return bytes(parts)
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
    return error_response(400, f"the body is nested more than {MAX_DEPTH_COUNT} levels deep", code="invalid_json")


def _is_deeper_than(value: object, most: int) -> bool:
    """Walk level by level, so that depth itself cannot break the walk."""
    level = [value]
    for _ in range(most):
        level = [child for parent in level for child in _children(parent) if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _wrong(text: str) -> RefusedError:
    """Turn msgspec's words into ours: the place becomes OpenAI's `param`."""
    place = _PLACE.search(text)
    what = text[: place.start()] if place else text
    way = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", place[1]).strip(".") if place else ""
    named = _UNKNOWN.search(what) or _MISSING.search(what)
    if named:
        way = f"{way}.{named[1]}" if way else named[1]
        problem = "is not supported" if _UNKNOWN.search(what) else "is missing"
        code = "unsupported_parameter" if _UNKNOWN.search(what) else "missing_required_parameter"
        return error_response(400, f"`{way}` {problem}", code=code, param=way)
    return error_response(
        400, f"`{way or 'body'}`: {what[:1].lower()}{what[1:]}", code="invalid_type", param=way or None
    )
