"""Cards, phones, e-mail, IBAN, SSN, IP and URLs: found ones, and text that only looks like them."""

from __future__ import annotations

import pytest

from flowai.errors import UsageError
from flowai.privacy.detector import Detector
from flowai.privacy.identifiers import passes_mod_97
from flowai.privacy.numbers import passes_luhn
from flowai.privacy.phones import PhoneFinder
from flowai.privacy.spans import STRUCTURED, EntityType

DETECTOR = Detector()


def found(text: str) -> list[tuple[EntityType, str]]:
    return [(span.kind, text[span.start : span.end]) for span in DETECTOR.find(text) if span.kind in STRUCTURED]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (EntityType.CARD, "charge 4111 1111 1111 1111 please", "4111 1111 1111 1111"),
        (EntityType.CARD, "amex 3782-822463-10005, exp 12/29", "3782-822463-10005"),
        (EntityType.CARD, "5555555555554444", "5555555555554444"),
        (EntityType.CARD, "mir: 2200 0000 0000 0004", "2200 0000 0000 0004"),
        (EntityType.CARD, "ma carte est 30569309025904", "30569309025904"),
        (EntityType.CARD, "my card 4111 1111 1111 1111 12/27 123", "4111 1111 1111 1111"),
        (EntityType.CARD, "Maestro card 675984103431 was stolen", "675984103431"),
        (EntityType.CARD, "card=4111111111111111;", "4111111111111111"),
        (EntityType.PHONE, "ring +44 20 7946 0958 now", "+44 20 7946 0958"),
        (EntityType.PHONE, "+49 (0)30 901820", "+49 (0)30 901820"),
        (EntityType.PHONE, "I am at (415) 555-2671 x123 today", "(415) 555-2671 x123"),
        (EntityType.PHONE, "call 555-0123", "555-0123"),
        (EntityType.PHONE, "mon portable : 06 12 34 56 78", "06 12 34 56 78"),
        (EntityType.PHONE, "0049 30 901820 is it", "0049 30 901820"),
        (EntityType.PHONE, "Handy 0171 2345678", "0171 2345678"),
        (EntityType.PHONE, "write or 06.12.34.56.78", "06.12.34.56.78"),
        (EntityType.PHONE, "whatsapp me on 11 91234-5678", "11 91234-5678"),
        (EntityType.PHONE, "電話 03-1234-5678", "03-1234-5678"),
        (EntityType.PHONE, "find me at 612 345 678.", "612 345 678"),
        (EntityType.EMAIL, "to: Ann.Lee+x@mail.example.co.uk.", "Ann.Lee+x@mail.example.co.uk"),
        (EntityType.EMAIL, "email=ann@doe.org&x=1", "ann@doe.org"),
        (EntityType.EMAIL, "ann [at] doe [dot] org", "ann [at] doe [dot] org"),
        (EntityType.EMAIL, "josé@müller.de", "josé@müller.de"),
        (EntityType.EMAIL, "<mailto:ann@doe.museum>", "ann@doe.museum"),
        (EntityType.IBAN, "IBAN: DE89 3704 0044 0532 0130 00 thanks", "DE89 3704 0044 0532 0130 00"),
        (EntityType.IBAN, "gb82west12345698765432", "gb82west12345698765432"),
        (EntityType.IBAN, "FR14 2004 1010 0505 0001 3M02 606", "FR14 2004 1010 0505 0001 3M02 606"),
        (EntityType.SSN, "078-05-1120", "078-05-1120"),
        (EntityType.SSN, "social security number 078051120", "078051120"),
        (EntityType.SSN, "ITIN: 912-70-1234", "912-70-1234"),
        (EntityType.IP, "from 203.0.113.77 port 22", "203.0.113.77"),
        (EntityType.IP, "ip 10.0.0.5", "10.0.0.5"),
        (EntityType.IP, "at 2001:db8:85a3::8a2e:370:7334", "2001:db8:85a3::8a2e:370:7334"),
        (EntityType.URL, "my page https://www.AnnDoe.se/", "https://www.AnnDoe.se/"),
        (EntityType.URL, "www.anndoe.de/about.", "www.anndoe.de/about"),
        (EntityType.URL, "postgres://ann:pa55@db.internal:5432/x", "postgres://ann:pa55@db.internal:5432/x"),
        (EntityType.URL, "https://github.com/users/ann", "https://github.com/users/ann"),
    ],
)
def test_a_complete_value_is_found(kind: EntityType, text: str, value: str) -> None:
    assert (kind, value) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # check digit
        "order id 4111111111111111",
        "0.4111111111111111",
        "550e8400-e29b-41d4-a716-446655440000",
        "DE89 3704 0044 0532 0130 01",
        "000-12-3456, 666-12-3456, 123-00-4567, 123-45-0000",
        "1.2.3.4 and v10.20.30.40 and numpy==1.100.200.3",
        "127.0.0.1, 0.0.0.0, 255.255.255.0, 10.0.0.0/8, 300.1.1.1",
        "::1 std::vector abc::def 12:34:56 aa:bb:cc:dd:ee:ff",
        "git@github.com:org/repo.git icon@2x.png lodash@4.17.21 getty@tty1.service a @ b",
        "see https://docs.python.org/3/library/re.html and https://example.com/a",
        "2024-01-15 10:23:45 and 15.01.2024 10:20 and 1990-2000 and 20240115102345",
        "order 123-456-7890, invoice 2024/000123, ISBN 978-3-16-148410-0",
        "1 234 567 890 people, 699 956 915 bytes, 3.14159265358979",
        "1700000000123 and 1700000000 and 0xdeadbeef12345678",
        "lines 1234567-1234590, h * 69069 + 907133923",
        "tel",
    ],
)
def test_lookalikes_are_not_found(text: str) -> None:
    assert found(text) == []


def test_two_numbers_in_a_row_are_separated() -> None:
    assert found("tel 06 12 34 56 78 / 06 98 76 54 32") == [
        (EntityType.PHONE, "06 12 34 56 78"),
        (EntityType.PHONE, "06 98 76 54 32"),
    ]


def test_regions_select_the_plans_of_a_number_without_a_cue() -> None:
    text = "it was 0171 234 5678."
    assert [span.kind for span in Detector(regions=("DE",)).find(text)] == [EntityType.PHONE]
    assert list(Detector(regions=("US",)).find(text)) == []


def test_an_unknown_region_is_an_error() -> None:
    with pytest.raises(UsageError, match="`Germany`"):
        PhoneFinder(("US", "Germany"))


def test_check_digits_follow_the_standards() -> None:
    assert passes_luhn("79927398713")
    assert not passes_luhn("79927398710")
    assert passes_mod_97("GB82 WEST 1234 5698 7654 32")
    assert not passes_mod_97("GB82 WEST 1234 5698 7654 33")
