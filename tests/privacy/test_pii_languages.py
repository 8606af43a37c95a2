"""Names, addresses and numbers in fifteen languages; text that only looks like them; digits of other scripts."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from flowai.privacy.detector import Detector
from flowai.privacy.spans import STRUCTURED, EntityType

DETECTOR = Detector()
LABEL = re.compile(r"\[([A-Z]+):([^\]]*)\]")


def labelled_texts() -> list[tuple[str, str, list[tuple[int, int, EntityType]]]]:
    """Return language, text and labels of each line of `labelled_texts.txt`."""
    rows = []
    language = ""
    for line in Path(__file__).with_name("labelled_texts.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            language = line.removeprefix("#").strip()
            continue
        marked, plain, labels, done = line.replace("\\n", "\n"), "", [], 0
        for match in LABEL.finditer(marked):
            plain += marked[done : match.start()]
            labels.append((len(plain), len(plain) + len(match[2]), EntityType(match[1])))
            plain += match[2]
            done = match.end()
        rows.append((language, plain + marked[done:], labels))
    return rows


ROWS = labelled_texts()
LANGUAGES = sorted({language for language, _, labels in ROWS if labels})


def found_of(language: str) -> tuple[Counter[str], Counter[str]]:
    """Count labelled and found values of a language, by `structured` or kind."""
    labelled: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for _, text, labels in (row for row in ROWS if row[0] == language):
        spans = DETECTOR.find(text)
        for start, end, kind in labels:
            group = "structured" if kind in STRUCTURED else str(kind)
            common = sum(max(0, min(span.end, end) - max(span.start, start)) for span in spans if span.kind is kind)
            labelled[group] += 1
            found[group] += common >= 0.9 * (end - start)
    return labelled, found


@pytest.mark.parametrize("language", LANGUAGES)
def test_values_of_a_language_are_found(language: str) -> None:
    labelled, found = found_of(language)
    assert found["structured"] >= 0.96 * labelled["structured"]
    assert found["PERSON"] >= 0.75 * labelled["PERSON"]
    assert found["ADDRESS"] >= 0.6 * labelled["ADDRESS"]


@pytest.mark.parametrize("text", [text for language, text, _ in ROWS if language == "neg"])
def test_text_without_private_values_is_left_alone(text: str) -> None:
    assert [(span.kind, text[span.start : span.end]) for span in DETECTOR.find(text) if span.kind in STRUCTURED] == []


@pytest.mark.parametrize(
    ("zero", "script"),
    [
        ("\u0660", "Arabic"),
        ("\u06f0", "Persian"),
        ("\u0966", "Devanagari"),
        ("\u09e6", "Bengali"),
        ("\uff10", "full width"),
    ],
)
def test_digits_of_any_script_are_read(zero: str, script: str) -> None:
    digits = {ord("0") + digit: chr(ord(zero) + digit) for digit in range(10)}
    for value, kind in (("4111 1111 1111 1111", EntityType.CARD), ("+966 50 123 4567", EntityType.PHONE)):
        text = f"here: {value.translate(digits)} ok"
        assert [span.kind for span in DETECTOR.find(text)] == [kind], script


@pytest.mark.parametrize(
    "text",
    [
        "14400-10800=$3600",
        "Kafka (1883-1924) and Fitzgerald (1896-1940)",
        "2023-2024, 1914-1918, 12.03.2024, 2024/11/05",
        "1234567 + 7654321 = 8888888",
        "release 10.15.7.2 replaced 3.11.4",
    ],
)
def test_dates_years_versions_and_arithmetic_are_no_phones(text: str) -> None:
    assert DETECTOR.find(text) == []


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("order of my card 4111111111111112", EntityType.CARD, "4111111111111112"),
        ("invoice sent; phone 14400-10800", EntityType.PHONE, "14400-10800"),
        ("Tel.0301234567", EntityType.PHONE, "0301234567"),
        ("Kartennr.4111111111111111", EntityType.CARD, "4111111111111111"),
        ("Dr. Holinka Park", EntityType.PERSON, "Holinka"),
    ],
)
def test_a_cue_beats_an_exclusion(text: str, kind: EntityType, value: str) -> None:
    assert (kind, value) in [(span.kind, text[span.start : span.end]) for span in DETECTOR.find(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("529.982.247-25", "529.982.247-25"),
        ("codice RSSMRA85T10A562S", "RSSMRA85T10A562S"),
        ("el 12345678Z", "12345678Z"),
        ("900101-1234568 번", "900101-1234568"),
        ("he is 11010519491231002X", "11010519491231002X"),
        ("PESEL 44051401359", "44051401359"),
        ("NHS number: 943 476 5919", "943 476 5919"),
    ],
)
def test_national_numbers_are_found(text: str, value: str) -> None:
    assert [text[span.start : span.end] for span in DETECTOR.find(text) if span.kind is EntityType.SSN] == [value]


@pytest.mark.parametrize("text", ["12345678A", "529.982.247-26", "version 11010519491231002", "ticket 44051401359"])
def test_numbers_with_a_wrong_check_digit_are_no_national_numbers(text: str) -> None:
    assert [span for span in DETECTOR.find(text) if span.kind is EntityType.SSN] == []
