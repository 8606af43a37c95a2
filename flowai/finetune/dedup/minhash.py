"""MinHash signatures: similar sets share a band of their signatures, so that they are found without comparisons.

Source:
    Broder, On the resemblance and containment of documents (1997); Leskovec, Rajaraman, Ullman, Mining of Massive
    Datasets, chapter 3.4 (bands).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BAND_COUNT = 16
_BAND_ROWS_COUNT = 5
SIGNATURE_COUNT = BAND_COUNT * _BAND_ROWS_COUNT
"""Numbers in a signature. A pair of similarity s shares a band with probability 1 - (1 - s^5)^16: 0.998 at 0.8,
0.999999 at 0.9, 0.4 at 0.5, 0.005 at 0.2."""

_SEED = 86  # signatures of different seeds are not comparable; none is stored
_HALF_BITS = 32


class MinHash:
    """Computes signatures; only those of one instance's seed are comparable."""

    def __init__(self) -> None:
        random = np.random.default_rng(_SEED)
        self._shifts = random.integers(0, 1 << _HALF_BITS, SIGNATURE_COUNT, dtype=np.uint32)
        self._factors = random.integers(0, 1 << _HALF_BITS, SIGNATURE_COUNT, dtype=np.uint32) | np.uint32(1)
        self._weights = random.integers(0, 1 << _HALF_BITS, _BAND_ROWS_COUNT, dtype=np.uint64) * np.uint64(
            2
        ) + np.uint64(1)

    def signatures(self, shingles: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Return the signatures of several sets, one after the other in `shingles`: a row for each.

        Two signatures agree in about the share of numbers that is the sets' similarity. `shingles` are evenly
        distributed, in any order, repeated or not; an empty set has the maximum values.
        """
        halves = (shingles >> np.uint64(_HALF_BITS)).astype(np.uint32)
        smallest = np.full((len(counts), SIGNATURE_COUNT), np.iinfo(np.uint32).max, dtype=np.uint32)
        filled = np.flatnonzero(counts)
        if filled.size:
            starts = (np.cumsum(counts) - counts)[filled]
            for number, (shift, factor) in enumerate(zip(self._shifts, self._factors, strict=True)):
                mixed = halves ^ shift
                mixed *= factor
                smallest[filled, number] = np.minimum.reduceat(mixed, starts)
        return smallest

    def bands(self, signatures: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return BAND_COUNT numbers per signature; sets that share one at the same position should be compared."""
        rows = signatures.reshape(-1, BAND_COUNT, _BAND_ROWS_COUNT).astype(np.uint64)
        mixed: NDArray[np.uint64] = (rows * self._weights).sum(axis=2, dtype=np.uint64)
        mixed ^= mixed >> np.uint64(_HALF_BITS - 3)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        return (mixed >> np.uint64(_HALF_BITS)).astype(np.uint32)
