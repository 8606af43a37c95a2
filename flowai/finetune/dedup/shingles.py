"""Texts as sets of overlapping substrings (shingles), after normalisation of differences that no reader sees."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from flowai.privacy.normalise import normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SHINGLE_CHARACTER_COUNT = 5
"""Characters of a shingle for similarity: about a word, so that a typo changes five of them."""

_SPACE = re.compile(r"\s+")
_NO_WORD = re.compile(r"[\W_]+")
_WORD = re.compile(r"[^\W_]+")
_DENSE = re.compile("[\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")

_ODD_FACTOR = 0x9E3779B97F4A7C15
_WORD_BITS = 64


def folded(text: str) -> str:
    """Normalise case, white space, Unicode forms and invisible characters; keep punctuation, which matters in code."""
    visible = normalise(text).text
    if not visible.isascii():
        visible = unicodedata.normalize("NFKC", visible)
    return _SPACE.sub(" ", visible.casefold()).strip()


def letters(text: str) -> str:
    """Return only letters and digits, without case and accents: independent of layout.

    A Han character or a kana counts twice, so that lengths mean about the same in all scripts.
    """
    visible = normalise(text).text
    if visible.isascii():
        return _NO_WORD.sub("", visible.lower())
    plain = _NO_WORD.sub("", unicodedata.normalize("NFKD", visible).casefold())
    return _DENSE.sub(r"\g<0>\g<0>", plain)


def word_count(text: str) -> int:
    """Count words; a Han character or a kana is a word."""
    return len(_WORD.findall(_DENSE.sub(r" \g<0> ", text)))


def shingles(text: str, length: int = SHINGLE_CHARACTER_COUNT) -> NDArray[np.uint64]:
    """Hash every substring of `length` characters; collisions practically never happen.

    A shorter text is one shingle, an empty text has none. The hash is polynomial (Karp, Rabin 1987), here by doubling;
    the last steps are SplitMix64's.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64) + np.uint64(1)
    if 0 < len(codes) < length:
        codes = np.concatenate([codes, np.zeros(length - len(codes), dtype=np.uint64)])
    count = len(codes) - length + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    hashes = np.zeros(count, dtype=np.uint64)
    block, size, done = codes, 1, 0  # block[i] hashes the `size` characters from i on
    while True:
        if length & size:
            hashes = hashes * _power(size) + block[done : done + count]
            done += size
        if done == length:
            return _mix(hashes)
        block = block[:-size] * _power(size) + block[size:]
        size *= 2


class ShingleBatch(NamedTuple):
    """Shingles of several texts, one text after the other; many texts at once cost far less than one at a time."""

    hashes: NDArray[np.uint64]
    positions: NDArray[np.int64]
    """Of each shingle, its first character in the joined texts."""
    counts: NDArray[np.int64]
    """Of each text, the number of its shingles."""
    text: str
    """The joined texts; short ones are filled up to the length of a shingle."""
    starts: NDArray[np.int64]
    """Of each text, its first character in the joined texts."""


def shingle_batch(texts: Sequence[str], length: int = SHINGLE_CHARACTER_COUNT) -> ShingleBatch:
    """Hash every substring of `length` characters of each text; a shorter text is filled up with U+0000."""
    filled = [text.ljust(length, "\0") if text else "" for text in texts]
    sizes = np.fromiter(map(len, filled), dtype=np.int64, count=len(filled))
    starts = np.cumsum(sizes) - sizes
    counts = np.maximum(sizes - (length - 1), 0)
    joined = "".join(filled)
    positions = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    hashes = shingles(joined, length)[positions] if joined else np.empty(0, dtype=np.uint64)
    return ShingleBatch(hashes, positions, counts, joined, starts)


def similarity(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> float:
    """Return the Jaccard similarity of two sets of distinct shingles, 0 to 1; 1 for two empty sets.

    Source: Broder, On the resemblance and containment of documents (1997); also for `containment`.
    """
    shared = np.intersect1d(left, right, assume_unique=True).size
    total = left.size + right.size - shared
    return float(shared / total) if total else 1.0


def containment(small: NDArray[np.uint64], large: NDArray[np.uint64]) -> float:
    """Return the share of one text's shingles, repeated ones too, that are in another, 0 to 1; 0 for an empty text."""
    return float(np.isin(small, large).mean()) if small.size else 0.0


def distinct_share(spans: NDArray[np.uint64]) -> float:
    """Return the share of distinct shingles, above 0 to 1; 1 for an empty text."""
    return len(np.unique(spans)) / len(spans) if len(spans) else 1.0


def _power(count: int) -> np.uint64:
    return np.uint64(pow(_ODD_FACTOR, count, 1 << _WORD_BITS))


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Distribute differences over all bits, in place."""
    numbers ^= numbers >> np.uint64(30)
    numbers *= np.uint64(0xBF58476D1CE4E5B9)
    numbers ^= numbers >> np.uint64(27)
    numbers *= np.uint64(0x94D049BB133111EB)
    numbers ^= numbers >> np.uint64(31)
    return numbers
