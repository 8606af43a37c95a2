"""Unit vectors as bytes, and exact nearest-neighbour search in process. The only module that imports numpy.

Similarity is the cosine, clipped at 0: from 0 (unrelated or opposite) to 1 (same direction).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

_INITIAL_ROWS = 64
FLOAT_BYTES = 4


def normalised_bytes(vector: Sequence[float]) -> bytes | None:
    """Scale a vector to length 1, as little-endian 32-bit floats; None without a direction (all zeros, not finite)."""
    values = np.asarray(vector, dtype="<f8")
    length = float(np.linalg.norm(values)) if values.ndim == 1 else 0.0
    if not 0.0 < length < float("inf"):  # false for NaN, too
        return None
    return (values / length).astype("<f4").tobytes()


class VectorTable:
    """Unit vectors of one length, by number, with exhaustive search."""

    def __init__(self, dimension_count: int) -> None:
        self.dimension_count = dimension_count
        self._rows: NDArray[np.float32] = np.empty((_INITIAL_ROWS, dimension_count), dtype="<f4")
        self._ids: list[int] = []

    def __len__(self) -> int:
        """Count the vectors."""
        return len(self._ids)

    def add(self, number: int, vector: bytes) -> None:
        """Add a unit vector; one of another length is left out."""
        if len(vector) != self.dimension_count * FLOAT_BYTES:
            return
        count = len(self._ids)
        if count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[count] = np.frombuffer(vector, dtype="<f4")
        self._ids.append(number)

    def drop(self, numbers: Collection[int]) -> None:
        """Remove vectors; unknown numbers are ignored."""
        kept = [at for at, number in enumerate(self._ids) if number not in numbers]
        self._rows[: len(kept)] = self._rows[kept]
        self._ids = [self._ids[at] for at in kept]

    def nearest(self, vector: bytes, *, above: float, max_count: int) -> list[tuple[int, float]]:
        """Return the numbers and similarities above a limit, most similar first."""
        if not self._ids or len(vector) != self.dimension_count * FLOAT_BYTES:
            return []
        similarities = np.clip(self._rows[: len(self._ids)] @ np.frombuffer(vector, dtype="<f4"), 0.0, 1.0)
        candidates = np.flatnonzero(similarities > above)
        if len(candidates) > max_count:
            candidates = candidates[np.argpartition(similarities[candidates], -max_count)[-max_count:]]
        pairs = ((self._ids[at], float(similarities[at])) for at in candidates)
        return sorted(pairs, key=lambda pair: (-pair[1], -pair[0]))
