"""Names of fields as cues: labels, JSON keys, headers of tables, the question before."""

from __future__ import annotations

import pytest

from flowai.privacy.detector import Detector
from flowai.privacy.scrubber import Scrubber
from flowai.privacy.spans import EntityType

DETECTOR = Detector()
SCRUBBER = Scrubber(b"a key of sixteen bytes and more")


def found(text: str) -> list[tuple[EntityType, str]]:
    return [(span.kind, text[span.start : span.end]) for span in DETECTOR.find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("full name: quentin abara", EntityType.PERSON, "quentin abara"),
        ("Nachname: Pöschl", EntityType.PERSON, "Pöschl"),
        ("氏名\uff1a藤堂 凛", EntityType.PERSON, "藤堂 凛"),
        ("पूरा नाम: अर्णव दत्ता", EntityType.PERSON, "अर्णव दत्ता"),
        ("shipping address: flat 3, windsor gate, leeds", EntityType.ADDRESS, "flat 3, windsor gate, leeds"),
        ("phone = 555123", EntityType.PHONE, "555123"),
        ("What is your name?\nzuri okeke", EntityType.PERSON, "zuri okeke"),
        ("Wie heißen Sie? Zuri Okeke.", EntityType.PERSON, "Zuri Okeke"),
    ],
)
def test_a_label_or_a_question_is_a_cue(text: str, kind: EntityType, value: str) -> None:
    assert (kind, value) in found(text)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_header_is_a_cue_for_every_row(delimiter: str) -> None:
    rows = [("id", "customer", "phone"), ("1", "Lioba Krantz", "5550001"), ("2", "xaver quint", "5550002")]
    text = "\n".join(delimiter.join(row) for row in rows)
    assert found(text) == [
        (EntityType.PERSON, "Lioba Krantz"),
        (EntityType.PHONE, "5550001"),
        (EntityType.PERSON, "xaver quint"),
        (EntityType.PHONE, "5550002"),
    ]


def test_a_key_of_json_is_a_cue() -> None:
    done = SCRUBBER.value(
        {"customerName": "ximo tarrega", "billing_address": "flat 3, windsor gate", "mobile": "555123"}
    )
    assert done.findings == {"ADDRESS": 1, "PERSON": 1, "PHONE": 1}


@pytest.mark.parametrize(
    ("question", "reply", "kind"),
    [
        ("May I have your full name, please?", "zuri okeke", "PERSON"),
        ("Where do you live?", "flat 3, windsor gate, leeds", "ADDRESS"),
        ("お名前を教えてください\uff1f", "藤堂 凛", "PERSON"),
        ("And your phone number?", "555123", "PHONE"),
    ],
)
def test_the_question_of_the_other_speaker_is_a_cue(question: str, reply: str, kind: str) -> None:
    messages = [{"role": "assistant", "content": question}, {"role": "user", "content": reply}]
    assert SCRUBBER.messages(messages).findings == {kind: 1}


@pytest.mark.parametrize(
    "text",
    [
        "name: foo\nversion: 1.2\nauthor: me",
        "client: unknown\ncustomer: none",
        "address = 0x7ffe12345678\naddress: 127.0.0.1:8080",
        "def f(name: str, phone: int = 0) -> None:",
        "id,name,count\n1,total,3",
        "What is your name?",
        "Is this your address? Yes, it is.",
    ],
)
def test_fields_of_programs_are_left_alone(text: str) -> None:
    assert found(text) == []
