"""Scrubbing: recall, precision and speed of the detection of personal data, beside Presidio's patterns.

Presidio-research's development set (1,500 labelled sentences; `docs/explanation/pii.md` says how a hit is counted) and
6,000 lines of logs. Structured: card, phone, e-mail, IBAN, SSN, IP, URL. Presidio runs without a language model, by its
patterns alone. Our time includes names, addresses, secrets and the replacing.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.pii_sentences import LABELS, labelled_rows, score, technical_lines  # noqa: E402 - behind its folder

from flowai.privacy.detector import Detector  # noqa: E402 - as above
from flowai.privacy.presidio import is_presidio_installed  # noqa: E402 - as above
from flowai.privacy.scrubber import Scrubber  # noqa: E402 - as above
from flowai.privacy.spans import STRUCTURED, EntityType, Span  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from support.pii_sentences import Score

HEADER = ("what", "flowai", "Presidio's patterns", "ratio", "how")
DATA = HERE.parents[1] / "shared" / "data"
PAIRS_COUNT = 5
LINES_COUNT = 6_000
PEER_ROWS_COUNT = 300  # it takes its time
PEOPLE = (EntityType.PERSON, EntityType.ADDRESS)


def _presidio() -> Callable[[str], list[Span]] | None:
    """Return Presidio's recognizers on a blank pipeline, limited to our labels."""
    if not is_presidio_installed():
        return None
    import logging

    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry  # noqa: TID251 - it is the peer
    from presidio_analyzer.nlp_engine import SpacyNlpEngine  # noqa: TID251 - as above
    from spacy import blank

    logging.disable(logging.ERROR)  # it complains that it cannot load the list of domains
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": ""}])
    engine.nlp = {"en": blank("en")}
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"])
    registry.remove_recognizer("SpacyRecognizer")
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
    names = {**LABELS, "URL": EntityType.URL}
    entities = sorted(names.keys() & set(analyzer.get_supported_entities("en")))

    def find(text: str) -> list[Span]:
        return [
            Span(start=one.start, end=one.end, kind=names[one.entity_type], score=one.score)
            for one in analyzer.analyze(text=text, language="en", entities=entities)
        ]

    return find


def _rows_per_s(work: Callable[[str], object], texts: Sequence[str]) -> float:
    began = time.process_time()
    for text in texts:
        work(text)
    return len(texts) / (time.process_time() - began)


def _share(value: float) -> str:
    return f"{value:.3f}"


def _speed(texts: Sequence[str], peer: Callable[[str], list[Span]] | None) -> tuple[str, ...]:
    scrub = Scrubber(b"the key of a benchmark").text
    for text in texts:
        scrub(text)
    pairs = [
        (_rows_per_s(scrub, texts), _rows_per_s(peer, texts[:PEER_ROWS_COUNT]) if peer else 0.0)
        for _ in range(PAIRS_COUNT)
    ]
    mine = statistics.median(pair[0] for pair in pairs)
    how = f"CPU time of one core, medians of {PAIRS_COUNT} interleaved pairs"
    if peer is None:
        return ("rows per second", f"{mine:,.0f}", _MISSING, "", how)
    ratio = statistics.median(pair[0] / pair[1] for pair in pairs)
    return (
        "rows per second",
        f"{mine:,.0f}",
        f"{statistics.median(pair[1] for pair in pairs):,.0f}",
        f"{ratio:.0f}x",
        how,
    )


_MISSING = "skipped: not installed"


def _quality(
    what: str, kinds: Sequence[EntityType], mine: Score, peers: Score | None = None, missing: str = ""
) -> list[tuple[str, ...]]:
    recall = _share(peers.recall(kinds)) if peers else missing
    precision = _share(peers.precision(kinds)) if peers else missing
    return [
        (f"{what}: recall", _share(mine.recall(kinds)), recall, "", "90 % of a label's characters covered"),
        (f"{what}: precision", _share(mine.precision(kinds)), precision, "", "of the right kind"),
    ]


def rows() -> list[tuple[str, ...]]:
    """Measure and return one row per figure."""
    if not (DATA / "pii-dev").is_dir():
        return [("labelled sentences", "skipped: no shared/data beside the checkout", "", "", "")]
    labelled = labelled_rows(DATA)
    find, peer = Detector().find, _presidio()
    unseen = [row for row in labelled if row.half == "unseen"]
    mine, held, peers = score(labelled, find), score(unseen, find), score(labelled, peer) if peer else None
    lines = technical_lines(LINES_COUNT)
    false_hits = [sum(len(one(line)) for line in lines) * 1000 / len(lines) if one else 0.0 for one in (find, peer)]
    return [
        _speed([row.text for row in labelled], peer),
        *_quality("structured", sorted(STRUCTURED), mine, peers, _MISSING),
        *_quality("names and addresses", PEOPLE, mine),
        *_quality("structured, other half", sorted(STRUCTURED), held),
        *_quality("names and addresses, other half", PEOPLE, held),
        (
            "false hits per 1,000 lines of logs",
            f"{false_hits[0]:.1f}",
            f"{false_hits[1]:.1f}" if peer else _MISSING,
            "",
            "",
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
