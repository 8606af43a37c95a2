"""Reads the vectors of an embeddings answer: as numbers, or as base64, whichever was asked for."""

from __future__ import annotations

import base64
import math
import re
import struct
from typing import Any

import msgspec

_AS_TEXT = re.compile(rb'"embedding"\s*:\s*"')


def vector(found: Any) -> tuple[float, ...]:  # noqa: ANN401 - JSON is anything
    """Read one vector: a list of numbers, or 32-bit floats in base64, little end first.

    Raises:
        ValueError: it is neither, it is empty, or a number is not finite.
    """
    try:
        if isinstance(found, str):
            raw = base64.b64decode(found, validate=True)
            found = struct.unpack(f"<{len(raw) // 4}f", raw)
        numbers = tuple(float(number) for number in found)
    except (TypeError, struct.error):
        raise ValueError("no vector of numbers") from None
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError("no vector of finite numbers")
    return numbers


def in_numbers(body: bytes) -> bytes:
    """Rewrite base64 vectors of an answer's body as numbers: OpenAI's client takes what it asked for, or warns.

    Returns:
        The body as it is where there is nothing to rewrite, or nothing that can be.
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
