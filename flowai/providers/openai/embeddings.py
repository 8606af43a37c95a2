"""Parses the vectors of an embeddings answer, as numbers or as base64."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any


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
