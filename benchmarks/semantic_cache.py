"""The semantic cache on labelled pairs: hits and false hits, beside vCache's rule on the same requests.

Labelled pairs are not in this repository: `python benchmarks/semantic_cache.py FILE...` reads Quora's question pairs
(TSV), SICK (TSV), STS-b (CSV or TSV) or GPTCache's list (JSON). Pairs: the first of each is cached, the second asked.
Requests: all texts in the file's order, of which only equal clusters share an answer; both rules learn as they go.
Without a file only simulated requests are measured: 40 entries, each right above a similarity of its own.
"""

from __future__ import annotations

import asyncio
import csv
import json
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np  # noqa: TID251 - cosines of many texts
from vcache import VcacheEntry

from flowai.cache.embedder import LocalEmbedder, local_embedder_missing
from flowai.cache.equivalence.compare import find_mismatch, is_document
from flowai.cache.shadow.comparison import AnswerComparison
from flowai.cache.shadow.serving import CHECK_RATE, LEARNING_FLOOR, ScopeEvidence
from flowai.registry.records import CachePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray  # noqa: TID251 - as above

HEADER = ("what", "flowai", "peer", "ratio", "how")
BOUNDS = (0.005, 0.02)
THRESHOLD = CachePolicy().threshold
MAX_NEIGHBOURS = 8
SIMULATED_COUNT = 10_000
MAX_TEXTS = 20_000
_EQUAL_STS = 4.5  # of 5


class LabelledPair(NamedTuple):
    """Two texts, and whether one answer serves both."""

    one: str
    other: str
    is_equal: bool


@dataclass
class Tally:
    """Hits of a rule."""

    hit_count: int = 0
    false_count: int = 0

    def add(self, *, is_right: bool) -> None:
        """Count a hit."""
        self.hit_count += 1
        self.false_count += not is_right

    def __str__(self) -> str:
        rate = f"{self.false_count / self.hit_count:.2%}" if self.hit_count else "-"
        return f"{self.hit_count:,} hits, {self.false_count:,} false ({rate})"


@dataclass
class Rules:
    """Both rules on the same requests."""

    bound: float
    rng: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - repeatable
    evidence: ScopeEvidence = field(default_factory=ScopeEvidence)
    entries: dict[str, VcacheEntry] = field(default_factory=dict)
    ours: Tally = field(default_factory=Tally)
    theirs: Tally = field(default_factory=Tally)
    _count: int = 0

    def ask(self, key: str, similarity: float, *, is_right: bool) -> bool:
        """Answer or compare by our rule; return whether the cache answered."""
        route = self.evidence.route(key, similarity, THRESHOLD)
        if route is None:
            return False
        is_allowed = route != "below" and self.evidence.is_within(route, self.bound)
        is_check = is_allowed and self.rng.random() < CHECK_RATE
        if is_allowed and not is_check:
            self.ours.add(is_right=is_right)
            return True
        self._count += 1
        self.evidence.add(
            AnswerComparison(
                call_id=str(self._count),
                scope="f/0",
                feature="f",
                key=key,
                at_s=0.0,
                similarity=similarity,
                route=route,
                outcome="same" if is_right else "different",
                is_check=is_check,
            )
        )
        return False

    def ask_peer(self, key: str, similarity: float, *, is_right: bool) -> bool:
        """Answer or compare by vCache's rule; return whether the peer caches no new answer."""
        entry = self.entries.setdefault(key, VcacheEntry())
        if not entry.explores(similarity, self.bound, self.rng):
            self.theirs.add(is_right=is_right)
            return True
        entry.add(similarity, is_right=is_right)
        return is_right


def read_pairs(file: Path) -> list[LabelledPair]:
    """Read labelled pairs; raises ValueError if the columns are not known."""
    if file.suffix == ".json":
        found = json.loads(file.read_text(encoding="utf-8"))
        return [LabelledPair(each["origin"], each["similar"], is_equal=True) for each in found]
    text = file.read_text(encoding="utf-8", errors="replace")
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    lines = list(csv.DictReader(text.splitlines(), delimiter=delimiter, quoting=csv.QUOTE_MINIMAL))
    columns = set(lines[0]) if lines else set()
    for one, other, is_equal in _COLUMNS:
        if {one, other} <= columns:
            return [
                LabelledPair(line[one], line[other], is_equal=is_equal(line))
                for line in lines
                if line[one] and line[other]
            ]
    raise ValueError(f"{file}: unknown columns {sorted(columns)}")


def _is_both_entailed(line: dict[str, str]) -> bool:
    return line.get("entailment_AB") == "A_entails_B" and line.get("entailment_BA") == "B_entails_A"


_COLUMNS: tuple[tuple[str, str, Callable[[dict[str, str]], bool]], ...] = (
    ("question1", "question2", lambda line: line["is_duplicate"] == "1"),
    ("sentence_A", "sentence_B", _is_both_entailed),
    ("sentence1", "sentence2", lambda line: float(line["score"]) >= _EQUAL_STS),
)


def _embedded(texts: Sequence[str]) -> NDArray[np.float32]:
    async def embed() -> Sequence[Sequence[float]]:
        embedder = LocalEmbedder()
        found = await embedder.embed(texts)
        await embedder.aclose()
        return found

    vectors = np.asarray(asyncio.run(embed()), dtype=np.float32)
    normalised: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normalised


def _file_rows(file: Path) -> Iterator[tuple[str, ...]]:
    pairs = read_pairs(file)[: MAX_TEXTS // 2]
    texts = [text for pair in pairs for text in pair[:2]]
    vectors = _embedded(texts)
    cosines = np.sum(vectors[::2] * vectors[1::2], axis=1)
    near = [pair for pair, cosine in zip(pairs, cosines, strict=True) if cosine > THRESHOLD]
    gated = [pair for pair in near if not is_document(pair.one) and find_mismatch(pair.one, pair.other) is None]
    equal_count = sum(pair.is_equal for pair in pairs)
    yield (
        f"{file.name}: pairs above {THRESHOLD:.2f}",
        _counted(gated),
        f"cosine alone: {_counted(near)}",
        "",
        f"{equal_count:,} equal and {len(pairs) - equal_count:,} other pairs",
    )
    for bound in BOUNDS:
        rules = _on_texts(pairs, texts, vectors, bound)
        yield _rules_row(f"{file.name}: {len(texts):,} requests, bound {bound:.1%}", rules)


def _counted(pairs: Sequence[LabelledPair]) -> str:
    false_count = sum(not pair.is_equal for pair in pairs)
    return f"{len(pairs) - false_count:,} hits and {false_count:,} false hits"


def _on_texts(pairs: Sequence[LabelledPair], texts: Sequence[str], vectors: NDArray[np.float32], bound: float) -> Rules:
    """Ask all texts of a file; each rule has a cache of its own."""
    clusters = _clusters(pairs)
    rules = Rules(bound=bound)
    ours: list[int] = []
    theirs: list[int] = []
    for number, text in enumerate(texts):
        is_hit = False
        if not is_document(text):
            for at, similarity in _nearest(vectors, ours, number, LEARNING_FLOOR, MAX_NEIGHBOURS):
                if find_mismatch(text, texts[at]) is None:
                    is_right = clusters[text] == clusters[texts[at]]
                    is_hit = rules.ask(str(at), similarity, is_right=is_right)
                    break
        if not is_hit:
            ours.append(number)
        is_known = False
        for at, similarity in _nearest(vectors, theirs, number, 0.0, 1):
            is_right = clusters[text] == clusters[texts[at]]
            is_known = rules.ask_peer(str(at), similarity, is_right=is_right)
        if not is_known:
            theirs.append(number)
    return rules


def _nearest(
    vectors: NDArray[np.float32], cached: list[int], number: int, above: float, count: int
) -> list[tuple[int, float]]:
    if not cached:
        return []
    similarities = vectors[cached] @ vectors[number]
    best = np.argsort(-similarities)[:count]
    return [(cached[at], min(float(similarities[at]), 1.0)) for at in best if similarities[at] > above]


def _clusters(pairs: Sequence[LabelledPair]) -> dict[str, str]:
    """Map each text to one text of all that are labelled equal, directly or through others."""
    parents: dict[str, str] = {}

    def root(text: str) -> str:
        while parents.setdefault(text, text) != text:
            parents[text] = parents[parents[text]]
            text = parents[text]
        return text

    for pair in pairs:
        one, other = root(pair.one), root(pair.other)
        if pair.is_equal:
            parents[one] = other
    return {text: root(text) for text in parents}


def _simulated(bound: float) -> Rules:
    rules = Rules(bound=bound)
    rng = random.Random(2)  # noqa: S311 - repeatable
    for _ in range(SIMULATED_COUNT):
        number, similarity = rng.randrange(40), rng.uniform(LEARNING_FLOOR, 1.0)
        is_right = similarity > LEARNING_FLOOR + (1 - LEARNING_FLOOR) * number / 40 or rng.random() < 0.02
        rules.ask(str(number), similarity, is_right=is_right)
        rules.ask_peer(str(number), similarity, is_right=is_right)
    return rules


def _rules_row(what: str, rules: Rules) -> tuple[str, ...]:
    ratio = f"{rules.ours.hit_count / rules.theirs.hit_count:.2f}x" if rules.theirs.hit_count else "-"
    return (
        what,
        str(rules.ours),
        f"vCache: {rules.theirs}",
        ratio,
        "hits; flowai's bound is of hits, vCache's of calls",
    )


def rows(files: Sequence[Path] = ()) -> list[tuple[str, ...]]:
    """Measure and return one row per comparison; cells as in HEADER."""
    found = [
        _rules_row(f"simulated: {SIMULATED_COUNT:,} requests, bound {bound:.1%}", _simulated(bound)) for bound in BOUNDS
    ]
    missing = local_embedder_missing()
    if not files:
        found.append(("labelled pairs", "", "NOT MEASURED: no file of pairs was named", "", ""))
    elif missing is not None:
        found.append(("labelled pairs", "", f"NOT MEASURED: {missing}", "", ""))
    else:
        found += [row for file in files for row in _file_rows(file)]
    return found


def main() -> None:
    """Print the rows as Markdown."""
    for row in (HEADER, ("---",) * len(HEADER), *rows([Path(name) for name in sys.argv[1:]])):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
