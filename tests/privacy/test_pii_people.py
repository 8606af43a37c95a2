"""Names and street addresses: found ones, and text that only looks like them."""

from __future__ import annotations

import pytest

from flowai.privacy.detector import Detector
from flowai.privacy.spans import EntityType
from flowai.privacy.vocabulary import vocabulary

DETECTOR = Detector()


def found(text: str, kind: EntityType) -> list[str]:
    return [text[span.start : span.end] for span in DETECTOR.find(text) if span.kind is kind]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("I met Giulia Bianchi yesterday", "Giulia Bianchi"),
        ("Dear Mr. Okonkwo, thank you", "Okonkwo"),
        ("my name is Xulio Praxedes", "Xulio Praxedes"),
        ("my name is giulia", "giulia"),
        ("Olga's account is locked", "Olga"),
        ("the novel by Teodor K. Vránek", "Teodor K. Vránek"),
        ("Herr Zschoke kommt", "Zschoke"),
        ("Krzysztof Wiśniewski wrote it", "Krzysztof Wiśniewski"),
        ("Nguyễn: talk to Nguyen Van Minh", "Nguyen Van Minh"),
        ("JOHN SMITH signed", "JOHN SMITH"),
        ("Conor O'Brien and Ludwig van Beethoven", "Conor O'Brien"),
        ("Conor O'Brien and Ludwig van Beethoven", "Ludwig van Beethoven"),
        ("Will Johnson asked", "Will Johnson"),
        ("Best regards,\nPriya", "Priya"),
        ("says Bergqvist.", "Bergqvist"),
    ],
)
def test_a_name_is_found_without_title_and_possessive(text: str, name: str) -> None:
    assert name in found(text, EntityType.PERSON)


@pytest.mark.parametrize(
    "text",
    [
        "Will you mark the May release? April comes first.",
        "The Apache License and Red Hat Linux on Monday in Paris",
        "Welcome to New York, the Empire State",
        "the Wilson Institute and Johnson Street and the Pearson Test",
        "class UserAdmin(Base): name: Metric = Field()",
        "Chapter Three: Getting Started With Docker Compose",
        "`Maria` is a variable, self.Maria too, Maria() and maria",
        "Bloom Filter, Bayes Theorem, Credit Card, Data Science",
    ],
)
def test_other_capitalised_words_are_not_names(text: str) -> None:
    assert found(text, EntityType.PERSON) == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ship it to 221B Baker Street, London NW1 6XE.", "221B Baker Street, London NW1 6XE"),
        ("I live at 742 Evergreen Terrace, Springfield, IL 62704 now", "742 Evergreen Terrace, Springfield, IL 62704"),
        ("wohnt in der Hauptstraße 12a, 10115 Berlin", "Hauptstraße 12a, 10115 Berlin"),
        ("12 rue de la Paix, 75002 Paris", "12 rue de la Paix, 75002 Paris"),
        ("Via Garibaldi 7, 20121 Milano", "Via Garibaldi 7, 20121 Milano"),
        ("calle: Calle Mayor 5, 28013 Madrid", "Calle Mayor 5, 28013 Madrid"),
        ("ul. Marszałkowska 10, 00-590 Warszawa", "ul. Marszałkowska 10, 00-590 Warszawa"),
        ("12 Main St\nApt. 4\nSpringfield, IL 62704", "12 Main St\nApt. 4\nSpringfield, IL 62704"),
        ("PO Box 1234, Springfield, IL 62704", "PO Box 1234, Springfield, IL 62704"),
        ("PSC 0413, Box 8144\nAPO AA 42323", "PSC 0413, Box 8144\nAPO AA 42323"),
        ("meet at the corner of Elm Street and 5th Avenue", "the corner of Elm Street and 5th Avenue"),
    ],
)
def test_a_complete_address_is_found(text: str, address: str) -> None:
    assert found(text, EntityType.ADDRESS) == [address]


@pytest.mark.parametrize(
    "text",
    [
        "Step 3 Click the Drive icon",
        "in 2019 Python 3 Road to GA",
        "took 12 ms, 5 Points, 7 Rules",
        "return 12 if x else 13",
        "Section 4 Table 5 Figure 6",
        "a box of 12 and highway 61",
    ],
)
def test_other_numbers_and_words_are_not_addresses(text: str) -> None:
    assert found(text, EntityType.ADDRESS) == []


def test_an_address_ends_before_the_phone_number() -> None:
    text = "12 Main Street, Springfield +1 415 555 2671"
    assert found(text, EntityType.ADDRESS) == ["12 Main Street, Springfield"]
    assert found(text, EntityType.PHONE) == ["+1 415 555 2671"]


def test_the_lists_are_folded() -> None:
    words = vocabulary()
    for listed in (words.given, words.ambiguous, words.family, words.no_names):
        assert all(word == word.lower() for word in listed)
        assert all(word.replace("-", "").replace("'", "").isascii() for word in listed)
