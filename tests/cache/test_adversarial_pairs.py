"""No pair of texts with different answers passes the gate of the semantic cache.

The pairs were written on 2026-12-01 by an author who had not read the gate, and the gate was finished before they were
seen: near misses of forty kinds, documents with one changed sentence, a dozen languages.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from flowai.cache.equivalence.compare import find_mismatch

PAIRS = Path(__file__).with_name("adversarial_pairs.jsonl")


class AdversarialPair(msgspec.Struct, frozen=True, kw_only=True):
    """Two texts with different answers."""

    a: str
    b: str
    kind: str


def test_pairs_of_an_independent_author_are_told_apart() -> None:
    pairs = msgspec.json.Decoder(AdversarialPair).decode_lines(PAIRS.read_bytes())
    assert len(pairs) == 1_000
    assert len({pair.kind for pair in pairs}) >= 40
    passed = [(pair.kind, pair.a, pair.b) for pair in pairs if find_mismatch(pair.a, pair.b) is None]
    assert passed == []
