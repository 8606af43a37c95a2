"""Sentences with labelled private values, a detector's recall and precision on them, and technical text without any."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flowai.privacy.spans import EntityType, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

LABELS = {
    "CREDIT_CARD": EntityType.CARD,
    "PHONE_NUMBER": EntityType.PHONE,
    "EMAIL_ADDRESS": EntityType.EMAIL,
    "IBAN_CODE": EntityType.IBAN,
    "US_SSN": EntityType.SSN,
    "IP_ADDRESS": EntityType.IP,
    "DOMAIN_NAME": EntityType.URL,
    "PERSON": EntityType.PERSON,
    "STREET_ADDRESS": EntityType.ADDRESS,
}
COVERED = 0.9  # share of a labelled span's characters that must be covered


@dataclass(frozen=True, kw_only=True)
class Row:
    """A sentence and its private values."""

    text: str
    spans: tuple[tuple[int, int, EntityType], ...]
    """Start, end and kind of each private value."""
    half: str
    """`develop` or `unseen`; all sentences of one template are in the same half."""


@dataclass(kw_only=True)
class Score:
    """Counts of labels and findings; recall and precision of any set of kinds."""

    labelled: Counter[EntityType] = field(default_factory=Counter)
    found: Counter[EntityType] = field(default_factory=Counter)
    reported: Counter[EntityType] = field(default_factory=Counter)
    right: Counter[EntityType] = field(default_factory=Counter)

    def recall(self, kinds: Iterable[EntityType]) -> float:
        chosen = list(kinds)
        return sum(self.found[kind] for kind in chosen) / max(1, sum(self.labelled[kind] for kind in chosen))

    def precision(self, kinds: Iterable[EntityType]) -> float:
        chosen = list(kinds)
        return sum(self.right[kind] for kind in chosen) / max(1, sum(self.reported[kind] for kind in chosen))


def labelled_rows(shared_data: Path) -> list[Row]:
    """Read presidio-research's development set."""
    read = json.loads((shared_data / "pii-dev" / "synth_dataset_v2.json").read_text(encoding="utf-8"))
    return [
        Row(
            text=row["full_text"],
            spans=tuple(
                (span["start_position"], span["end_position"], LABELS[span["entity_type"]])
                for span in row["spans"]
                if span["entity_type"] in LABELS
            ),
            half="unseen" if hashlib.sha256(str(row["template_id"]).encode()).digest()[0] & 1 else "develop",
        )
        for row in read
    ]


def score(rows: Sequence[Row], find: Callable[[str], Iterable[Span]]) -> Score:
    """Count findings: a label is found if spans of its kind cover 90 %, a span is right if half of it is labelled.

    A span of an address is right if it touches a labelled one: labels split one address into several.
    """
    counts = Score()
    for row in rows:
        spans = list(find(row.text))
        for start, end, kind in row.spans:
            covered = sum(_common(span, start, end) for span in spans if span.kind is kind)
            counts.labelled[kind] += 1
            counts.found[kind] += covered >= COVERED * (end - start)
        for span in spans:
            common = sum(_common(span, start, end) for start, end, kind in row.spans if span.kind is kind)
            min_common = 1 if span.kind is EntityType.ADDRESS else (span.end - span.start) / 2
            counts.reported[span.kind] += 1
            counts.right[span.kind] += common >= min_common
    return counts


def _common(span: Span, start: int, end: int) -> int:
    return max(0, min(span.end, end) - max(span.start, start))


def technical_lines(count: int, seed: int = 5) -> list[str]:
    """Write lines of logs: UUIDs, hashes, versions, timestamps, order numbers; the same ones for a seed."""
    rng = random.Random(seed)  # noqa: S311 - repeatable
    return [_LINES[index % len(_LINES)](rng) for index in range(count)]


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _hex(rng: random.Random, count: int) -> str:
    return f"{rng.getrandbits(4 * count):0{count}x}"


def _moment(rng: random.Random) -> datetime:
    seconds = timedelta(seconds=rng.randrange(10**8), microseconds=rng.randrange(10**6))
    return datetime(2024, 1, 1, tzinfo=UTC) + seconds


def _version(rng: random.Random) -> str:
    return f"{rng.randrange(30)}.{rng.randrange(30)}.{rng.randrange(200)}"


_LINES: tuple[Callable[[random.Random], str], ...] = (
    lambda rng: f"request {uuid.UUID(int=rng.getrandbits(128))} done",
    lambda rng: f"commit {_hex(rng, 40)}",
    lambda rng: f"sha256:{_hex(rng, 64)}",
    lambda rng: f"version {_version(rng)}.{rng.randrange(9)}",
    lambda rng: f"pip install numpy=={_version(rng)}",
    lambda rng: _moment(rng).isoformat(),
    lambda rng: f"{_moment(rng):%Y-%m-%d %H:%M:%S.%f} INFO started",
    lambda rng: f"order number {_digits(rng, 10)}",
    lambda rng: f"Order #{_digits(rng, 3)}-{_digits(rng, 7)}-{_digits(rng, 7)}",
    lambda rng: f"order id: {_digits(rng, 16)}",
    lambda rng: f"ts={int(_moment(rng).timestamp() * 1000)}",
    lambda rng: f"ts={int(_moment(rng).timestamp()) * 10**9}",
    lambda rng: f"invoice INV-{_moment(rng):%Y}-{_digits(rng, 6)}",
    lambda rng: f"{_moment(rng):%Y%m%d%H%M%S}",
    lambda rng: f"x = [{_digits(rng, 4)}, {_digits(rng, 4)}, {_digits(rng, 5)}]",
    lambda rng: f"0x{_hex(rng, 16)}",
    lambda rng: f"md5 {_hex(rng, 32)}",
    lambda rng: f"[{_moment(rng):%H:%M:%S}] worker-{_digits(rng, 2)}: took {_digits(rng, 3)}.{_digits(rng, 6)} ms",
    lambda rng: f"order {_digits(rng, 4)}-{_digits(rng, 4)}-{_digits(rng, 4)}",
    lambda rng: f"tracking no. {_digits(rng, 12)}",
    lambda rng: f"build {_digits(rng, 8)} of v{_version(rng)}",
    lambda rng: f"def f_{_digits(rng, 3)}(self, x: int = {_digits(rng, 6)}) -> Decimal: return x * {_digits(rng, 9)}",
    lambda rng: f"{_hex(rng, 8)}: {_hex(rng, 4)} {_hex(rng, 4)} {_digits(rng, 4)} {_digits(rng, 4)}",
    lambda rng: f"snowflake {_digits(rng, 18)}",
)
