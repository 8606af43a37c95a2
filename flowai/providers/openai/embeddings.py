"""Parses the vectors of an embeddings answer, as numbers or as base64."""

from __future__ import annotations

import base64
import math
import re
import struct
from typing import Any

import msgspec

_AS_TEXT = re.compile(rb'"embedding"\s*:\s*"')


def vector(value: Any) -> tuple[float, ...]:  # noqa: ANN401 - JSON is anything
    """Parse a vector: a list of numbers, or base64 of 32-bit floats, little-endian.

    Raises:
        ValueError: it is neither, it is empty, or a number is not finite.
    """
    try:
        if isinstance(value, str):
            raw = base64.b64decode(value, validate=True)
            value = struct.unpack(f"<{len(raw) // 4}f", raw)
        numbers = tuple(float(number) for number in value)
    except (TypeError, struct.error):
        raise ValueError("not a vector of numbers") from None
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError("not a vector of finite numbers")
    return numbers


def in_numbers(body: bytes) -> bytes:
    """Convert base64 vectors of a body into numbers: OpenAI's client warns about a format it did not request.

    Bodies without vectors in base64, and malformed ones, are returned unchanged.
    """
    if not _AS_TEXT.search(body):
        return body
    try:
        answer = msgspec.json.decode(body)
        for row in answer["data"]:
            row["embedding"] = vector(row["embedding"])
        return msgspec.json.encode(answer)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError):
        return body
