"""Finds national identification numbers: by a word that names them, or by a form with a check digit.

They are reported as `SSN`, the kind of all numbers that a state gives a person.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowai.privacy.numbers import passes_luhn
from flowai.privacy.spans import EntityType, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.privacy.numbers import DigitRun

_CUE = re.compile(
    r"(?:\b(?:ssn|ss#|ni (?:number|no)|rentenversicherung\w*|versicherungsnummer|social[ -]sec\w*|itin"
    r"|national (?:id\w*|insurance|identi\w+)|nino|nhs|aadhaa?r|uidai|nric|ic no|hkid"
    r"|identi(?:ty|fication) (?:card|number|no|document)|id card|id number|citizen(?:ship)? (?:id|number)"
    r"|social insurance|sin|tfn|tax file|medicare"
    r"|sozialversicherungs\w*|steuer-?id\w*|steueridentifikations\w*|steuernummer|personalausweis\w*|ausweis\w*|idnr"
    r"|sécurité sociale|securite sociale|numéro de sécu\w*|n° sécu|insee|nir|carte d'identité"
    r"|dni|nie|nif|nuss|cédula|cedula|curp|rfc|cuit|cuil|rut|run|documento (?:nacional )?de identidad"
    r"|seguridad social"
    r"|codice fiscale|cod\. ?fisc\.?|carta d.identità|cpf|rg|niss|cartão de cidadão|contribuinte"
    r"|bilhete de identidade"
    r"|bsn|burgerservice\w*|sofi\w*|rijksregister\w*|pesel|nr dowodu|dowód osobist\w*|dowodu osobist\w*|nip"
    r"|tc kimlik\w*|t\.c\. ?kimlik\w*|kimlik\w*|tckn|personnummer\w*|personnr|samordningsnummer|fødselsnummer\w*"
    r"|cpr\w*|hetu|henkilötunnu\w*|kennitala|rodné číslo|rodne cislo|rodným číslem|jmbg|oib|egn|cnp|személyi szám\w*"
    r"|taj\w*|asmens kod\w*|isikukood\w*|personas kod\w*|ahv\w*|avs|emirates id|iqama|ktp|nik|cmnd|cccd"
    r"|căn cước)(?![a-z])"
    r"|снилс|инн(?!\w)|паспорт\w*|егн|рнокпп|іпн|αφμ|αμκα|ταυτότητα\w*|الهوية|الرقم القومي|رقم الإقامة"
    r"|البطاقة الوطنية"
    r"|תעודת זהות|ת\.?ז\.|आधार|पैन|कोड फिस्काल|マイナンバー|個人番号|身份证|身分證|身分证|주민등록번호"
    r"|주민번호|외국인등록번호|บัตรประชาชน)"
)
_OTHER_CUE = re.compile(
    r"tel|phone|mobil|m[oó]vil|cel|handy|card|kart|iban|тел|карт|هاتف|جوال|فون|फ़ोन|फोन|मोबाइल|手机|电话"
    r"|電話|전화|연락처|カード"
    r"|e-?mail|order|invoice|房|номер телефона"
)
_NEAR_COUNT = 30  # characters between a cue and its number
_MIN_DIGITS, _MAX_DIGITS = 6, 18
_SENTENCE_END = re.compile(r"[!?;\n](?=.)|[.。](?=\s+\w{3})")


def national_id(run: DigitRun) -> Span | None:
    """Find a national identification number that is a whole run of digits."""
    digits = run.digits
    if not _MIN_DIGITS <= len(digits) <= _MAX_DIGITS or run.text[run.start] == "+":
        return None
    start = run.groups[0][0]
    if _has_cue(run.before):
        return Span(start=start, end=run.end, kind=EntityType.SSN, score=0.92)
    separators = "".join(run.separators)
    for lengths, joined, is_valid in _FORMS:
        if run.lengths == lengths and separators == joined and is_valid(digits):
            return Span(start=start, end=run.end, kind=EntityType.SSN, score=0.85)
    return None


def _has_cue(before: str) -> bool:
    """Return whether the last words before a number name a national identification number."""
    found = None
    for match in _CUE.finditer(before):
        found = match
    if found is None:
        return False
    between = before[found.end() :]
    return (
        len(between) <= _NEAR_COUNT
        and _SENTENCE_END.search(between) is None
        and _OTHER_CUE.search(between) is None
        and not any(map(str.isdigit, between))
    )


def _numbers(digits: str) -> list[int]:
    return [int(digit) for digit in digits]


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def is_cpf(digits: str) -> bool:
    """Return whether the last two digits check a Brazilian CPF. Source: Receita Federal, module 11."""
    first = _weighted(digits, tuple(range(10, 1, -1))) * 10 % 11 % 10
    second = _weighted(digits, tuple(range(11, 1, -1))) * 10 % 11 % 10
    return len(set(digits)) > 1 and digits[-2:] == f"{first}{second}"


def _is_snils(digits: str) -> bool:
    """Return whether the last two digits check a Russian SNILS. Source: Pension Fund of Russia, weights 9 to 1."""
    return _weighted(digits, tuple(range(9, 0, -1))) % 101 % 100 == int(digits[-2:])


def is_chinese_id(number: str) -> bool:
    """Return whether the last character checks a Chinese identity number. Source: GB 11643-1999, MOD 11-2."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    is_checked = "10X98765432"[_weighted(number, weights) % 11] == number[-1].upper()
    # month and day; the year is of no interest
    return is_checked and _is_date(number[10:14])


def _is_nir(digits: str) -> bool:
    """Return whether the last two digits check a French NIR. Source: INSEE, 97 minus the number modulo 97."""
    return digits[0] in "12" and 97 - int(digits[:13]) % 97 == int(digits[13:])


def _is_belgian(digits: str) -> bool:
    """Return whether the last two digits check a Belgian number. Source: Rijksregister, module 97."""
    return int(digits[-2:]) in {97 - int(digits[:9]) % 97, 97 - int("2" + digits[:9]) % 97}


def _is_swiss(digits: str) -> bool:
    """Return whether it is a Swiss AHV number. Source: Federal Social Insurance Office, EAN-13 check digit."""
    odd, even = sum(_numbers(digits[:12])[0::2]), sum(_numbers(digits[:12])[1::2])
    return digits.startswith("756") and (10 - (odd + 3 * even) % 10) % 10 == int(digits[12])


def _is_date(text: str) -> bool:
    """Return whether a text is a month and a day (`MMDD`)."""
    return "01" <= text[:2] <= "12" and "01" <= text[2:4] <= "31"


def _is_korean(digits: str) -> bool:
    """Return whether it begins with a birth date and a digit of sex and century, as a Korean number does."""
    return _is_date(digits[2:6]) and digits[6] in "12345678"


def _is_swedish(digits: str) -> bool:
    """Return whether it is a Swedish number. Source: Skatteverket, date and Luhn digit."""
    short = digits[-10:]
    return _is_date(short[2:6]) and passes_luhn(short)


def _is_czech(digits: str) -> bool:
    """Return whether it is a Czech or Slovak number: a date (women's months plus 50), divisible by 11."""
    month = int(digits[2:4]) % 50
    return 1 <= month <= 32 and int(digits) % 11 == 0  # noqa: PLR2004 - 12, or 20 more since 2004


_FORMS: tuple[tuple[tuple[int, ...], str, Callable[[str], bool]], ...] = (
    ((3, 3, 3, 2), "..-", is_cpf),
    ((3, 3, 3, 2), "-- ", _is_snils),
    ((3, 3, 3, 2), "---", _is_snils),
    ((18,), "", is_chinese_id),
    ((1, 2, 2, 2, 3, 3, 2), "      ", _is_nir),
    ((15,), "", _is_nir),
    ((2, 2, 2, 3, 2), "..-.", _is_belgian),
    ((3, 4, 4, 2), "...", _is_swiss),
    ((3, 4, 7, 1), "---", lambda digits: digits.startswith("784")),  # United Arab Emirates
    ((6, 7), "-", _is_korean),
    ((6, 4), "-", _is_swedish),
    ((8, 4), "-", _is_swedish),
    ((6, 4), "/", _is_czech),
)
"""Groups, separators and check of numbers that count without a cue."""

_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def _is_dni(number: str) -> bool:
    """Return whether the letter checks a Spanish DNI or NIE. Source: Ministerio del Interior, module 23."""
    plain = re.sub("[^0-9A-Z]", "", number.upper())
    digits = plain[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return _DNI_LETTERS[int(digits) % 23] == plain[-1]


def _is_rut(number: str) -> bool:
    """Return whether the last character checks a Chilean RUT. Source: Registro Civil, module 11."""
    plain = re.sub("[^0-9K]", "", number.upper())
    total = sum(int(digit) * (2 + index % 6) for index, digit in enumerate(reversed(plain[:-1])))
    return "0123456789K0"[11 - total % 11] == plain[-1]


def _is_finnish(number: str) -> bool:
    """Return whether the last character checks a Finnish number. Source: Digital and Population Data Services."""
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(number[:6] + number[7:10]) % 31] == number[-1].upper()


_LETTERED = re.compile(
    r"(?<![A-Za-z0-9])(?:(?P<fiscal>[A-Z]{6}[ ]?[0-9]{2}[A-EHLMPRST][0-9]{2}[ ]?[A-Z][0-9]{3}[A-Z])"
    r"|(?P<curp>[A-Z][AEIOUX][A-Z]{2}[0-9]{6}[HM][A-Z]{5}[A-Z0-9][0-9])"
    r"|(?P<dni>[XYZ][ -]?[0-9]{7}[ -]?[A-Z]|[0-9]{8}[ -]?[A-HJ-NP-TV-Z]"
    r"|[0-9]{2}\.[0-9]{3}\.[0-9]{3}[ -]?[A-HJ-NP-TV-Z])"
    r"|(?P<china>[1-9][0-9]{16}[Xx])"
    r"|(?P<rut>[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9Kk])"
    r"|(?P<finnish>[0-3][0-9][01][0-9]{3}[-+A][0-9]{3}[0-9A-FHJ-NPR-Y])"
    r"|(?P<nino>[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?P<gap>[ ]?)[0-9]{2}(?P=gap)[0-9]{2}(?P=gap)[0-9]{2}(?P=gap)[A-D])"
    r"|(?P<pan>[A-Z]{3}[PCHABGJLFT][A-Z][0-9]{4}[A-Z])"
    r"|(?P<other>[A-Z]{1,4}[ -]?[0-9]{2,9}(?:[ -][0-9]{2,9}){0,3}(?:[ -]?[0-9A-Z]{1,2})?"
    r"|[0-9]{2}[ ]?[0-9]{6}[ ]?[A-Z][ ]?[0-9]{3}|[0-9]{6,9}[A-Z]{1,2}[0-9]?|[A-Z][0-9]{2}[A-Z0-9]{6,7}))"
    r"(?![A-Za-z0-9])"
)
"""Numbers with letters; `other` and `pan` only after a cue."""

_CHECKED_FORMS: dict[str, Callable[[str], bool]] = {
    "dni": _is_dni,
    "china": is_chinese_id,
    "rut": _is_rut,
    "finnish": _is_finnish,
}
_NEEDS_CUE = frozenset({"pan", "other"})
_BEFORE_COUNT = 48
_PAN_CUE = re.compile(r"\bpan\b")


def lettered_ids(text: str) -> Iterator[Span]:
    """Find national identification numbers with letters: `RSSMRA85T10A562S`, `12345678Z`, `AB 12 34 56 C`."""
    for match in _LETTERED.finditer(text):
        form = match.lastgroup if match.lastgroup != "gap" else "nino"
        form = next((name for name in _FORM_NAMES if match.group(name)), form or "other")
        before = text[max(0, match.start() - _BEFORE_COUNT) : match.start()].lower()
        has_cue = _has_cue(before) or (form == "pan" and _PAN_CUE.search(before) is not None)
        check = _CHECKED_FORMS.get(form)
        if sum(map(str.isdigit, match.group())) < _MIN_DIGITS - 2:
            continue
        if has_cue or (form not in _NEEDS_CUE and (check is None or check(match.group()))):
            yield Span(start=match.start(), end=match.end(), kind=EntityType.SSN, score=0.9)


_FORM_NAMES = ("fiscal", "curp", "dni", "china", "rut", "finnish", "nino", "pan", "other")
