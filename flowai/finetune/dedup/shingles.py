"""A text as the overlapping stretches of characters it consists of, without differences that no reader would see."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from flowai.privacy.normalise import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHINGLE_CHARACTER_COUNT = 5
"""Characters in a shingle that similarity is measured with: about a word, so that one typo spoils five of them."""

_SPACE = re.compile(r"\s+")
_NO_WORD = re.compile(r"[\W_]+")
_WORD = re.compile(r"[^\W_]+")
_DENSE = re.compile("[\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")

_ODD_FACTOR = 0x9E3779B97F4A7C15
_WORD_BITS = 64


def folded(text: str) -> str:
    """Fold case, white space, Unicode forms and invisible characters; punctuation stays, since code lives by it."""
    seen = normalise(text).text
    if not seen.isascii():
        seen = unicodedata.normalize("NFKC", seen)
    return _SPACE.sub(" ", seen.casefold()).strip()


def letters(text: str) -> str:
    """Keep letters and digits only, without case and accents: what is left of a text however it is laid out.

    A Han character or a kana counts twice: it says as much as a few letters do, and lengths should mean the same.
    """
    seen = normalise(text).text
    if seen.isascii():
        return _NO_WORD.sub("", seen.lower())
    plain = _NO_WORD.sub("", unicodedata.normalize("NFKD", seen).casefold())
    return _DENSE.sub(r"\g<0>\g<0>", plain)


def word_count(text: str) -> int:
    """Count words; a Han character or a kana is one."""
    return len(_WORD.findall(_DENSE.sub(r" \g<0> ", text)))


def shingles(text: str, length: int = SHINGLE_CHARACTER_COUNT) -> NDArray[np.uint64]:
    """Number every stretch of some characters; equal stretches have equal numbers, others as good as never.

    Args:
        text: folded, or letters only.
        length: characters in a stretch, >= 1.

    Returns:
        One number for each place where a stretch begins; a shorter text is one stretch, an empty one none.

    Source:
        Polynomial rolling hash (Karp, Rabin 1987), here by doubling; the last steps are SplitMix64's.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64) + np.uint64(1)
    if 0 < len(codes) < length:
        codes = np.concatenate([codes, np.zeros(length - len(codes), dtype=np.uint64)])
    count = len(codes) - length + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    found = np.zeros(count, dtype=np.uint64)
    block, size, done = codes, 1, 0  # block[i] hashes the `size` characters from i on
    while True:
        if length & size:
            found = found * _power(size) + block[done : done + count]
            done += size
        if done == length:
            return _mixed(found)
        block = block[:-size] * _power(size) + block[size:]
        size *= 2


def similarity(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    """Give the Jaccard similarity of two sets of shingles, 0 to 1; two empty ones are alike.

    Args:
        one: shingles without repetition (`numpy.unique`).
        other: the same of the other text.

    Source:
        Broder, On the resemblance and containment of documents (1997).
    """
    shared = np.intersect1d(one, other, assume_unique=True).size
    together = one.size + other.size - shared
    return float(shared / together) if together else 1.0


def containment(small: NDArray[np.uint64], large: NDArray[np.uint64]) -> float:
    """Give the share of one text's shingles that are in another, 0 to 1; nothing is contained in anything.

    Args:
        small: shingles, each as often as the text has it: what a text repeats weighs more.
        large: shingles, repeated or not.

    Source:
        Broder (1997), as above.
    """
    return float(np.isin(small, large).mean()) if small.size else 0.0


def distinct_share(stretches: NDArray[np.uint64]) -> float:
    """Give the share of shingles that are no repetition of another one, above 0 to 1; 1 where there are none."""
    return len(np.unique(stretches)) / len(stretches) if len(stretches) else 1.0


def _power(count: int) -> np.uint64:
    return np.uint64(pow(_ODD_FACTOR, count, 1 << _WORD_BITS))


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread what differs over all bits; in place."""
    numbers ^= numbers >> np.uint64(30)
    numbers *= np.uint64(0xBF58476D1CE4E5B9)
    numbers ^= numbers >> np.uint64(27)
    numbers *= np.uint64(0x94D049BB133111EB)
    numbers ^= numbers >> np.uint64(31)
    return numbers
