"""Recall and precision on labelled sentences and on technical text, as the project promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.pii_sentences import labelled_rows, score, technical_lines

import flowai
from flowai.privacy.detector import Detector
from flowai.privacy.spans import STRUCTURED, EntityType

DETECTOR = Detector()
PEOPLE = (EntityType.PERSON, EntityType.ADDRESS)


@pytest.mark.parametrize("half", ["develop", "unseen"])
def test_recall_and_precision_on_labelled_values(shared_data: Path, half: str) -> None:
    counts = score([row for row in labelled_rows(shared_data) if row.half == half], DETECTOR.find)
    assert counts.recall(STRUCTURED) >= 0.97
    assert counts.precision(STRUCTURED) >= 0.93
    assert counts.recall(PEOPLE) >= 0.5
    assert counts.precision(PEOPLE) >= 0.85


def test_logs_contain_no_private_values() -> None:
    lines = technical_lines(6_000)
    assert sum(len(DETECTOR.find(line)) for line in lines) <= 2 * len(lines) / 1000


def test_code_and_documentation_contain_no_private_values() -> None:
    root = Path(flowai.__file__).parent
    files = [*root.glob("gateway/*.py"), *root.glob("registry/*.py"), *root.parent.glob("docs/how-to/*.md")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert sum(len(DETECTOR.find(line)) for line in lines) <= 2 * len(lines) / 1000
