"""Finds addresses in Cyrillic, Greek and Turkish, and those in Latin script whose street word comes first.

Each pattern begins at a word that every such address contains; what is around it is read in bounded steps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowai.privacy.spans import address_span
from flowai.privacy.vocabulary import UPPER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.privacy.spans import Span

# Russian, Ukrainian, Bulgarian: 123456, г. Казань, ул. Ленина, д. 15, кв. 42
_RU_STREET = (
    r"(?:ул(?:\.|иц[аеыу]\b)|вул(?:\.|иц[яіею]\b)|пр-т\b\.?|пр-кт\b\.?|просп(?:\.|ект[а-я]{0,2}\b)|пр\."
    r"|пер(?:\.|еул(?:ок|к)[а-я]{0,2}\b)|пров(?:\.|улок)"
    r"|б-р\b\.?|бул(?:\.|ьвар[а-я]{0,2}\b)|ш\.|шоссе\b|наб(?:\.|ережн(?:ая|ой|ую)\b)|пл(?:\.|ощад[ьи]\b)"
    r"|проезд[а-я]{0,2}\b|мкр\.?|микрорайон[а-я]{0,2}\b"
    r"|туп(?:\.|ик)\b|аллея\b|аллее\b|линия\b|тракт\b|кв-л\b|жк\b|ж\.к\.|бульв\.|ὁδός|οδ(?:ός|ού|ό|\.)"
    r"|λεωφ(?:\.|όρο[ςυ])|πλ\.|πλατεία)"
)
_RU_ANCHOR = re.compile(rf"(?<![а-яёіїα-ω]){_RU_STREET}", re.IGNORECASE)
_RU_NAME = (
    r"(?:[0-9]{1,3}-?(?:я|й|го|е|ая|ый|ой)?[ ])?(?:[А-ЯЁІЇЄΑ-ΩΆΈΉΊΌΎΏ0-9«\"][^\s,;:()]{0,24}|им\.|имени"
    r"|лет|года?)(?:[ ](?:[А-ЯЁІЇЄΑ-ΩΆΈΉΊΌΎΏ][^\s,;:()]{1,24}|лет|года?|[0-9]{1,4}(?=[ ](?:лет|года))"
    r"|Победы|Октября|Мая)){0,3}"
)
_RU_HOUSE = (
    r"(?:,?[ ]?(?:д(?:ом[а-я]{0,2})?\.?|буд(?:инок)?\.?|вл\.?|уч\.?|№|αρ\.?"
    r"|αριθμ?\.?)?[ ]?№?[ ]?[0-9]{1,4}(?:[ ]?[а-яa-zΑ-Ω](?![а-яa-zα-ω]))?(?:[/-][0-9]{1,4}[а-я]?)?)(?![0-9])"
)
_RU_MORE = (
    r"(?:,?[ ](?:к(?:орп(?:ус)?)?|стр(?:оение)?|кв(?:артира)?|оф(?:ис)?|под(?:ъезд)?|п|эт(?:аж)?"
    r"|комн?(?:ната)?|лит(?:ера)?|пом|вх|ап|ет|д(?:ом)?)\.?[ ]?(?:[0-9]{1,4}[а-я]?|[А-Я])(?![0-9А-Яа-яё]))"
)
_RU_PLACE = (
    r"(?:,?[ ](?:(?:г|гор|город|с|село|пос|поселок|посёлок|дер|деревня|д|пгт|обл|область|р-н|район|м|місто"
    r"|гр|ст|респ|край)\.?[ ]?)?[А-ЯЁІЇЄΑ-ΩΆΈΉΊΌΎΏ][^\s,;:()\.]{1,24}(?:[ ](?:[А-ЯЁІЇЄ][а-яё-]{1,20}"
    r"|обл(?:\.|асть)|область|район|р-н|край)){0,2}|,?[ ][0-9]{3}[ ]?[0-9]{2,3}(?![0-9]))"
)
_RU_AFTER = re.compile(rf"[ ]?{_RU_NAME}{_RU_HOUSE}(?:{_RU_MORE}){{0,5}}")
_RU_NAMED_BEFORE = re.compile(rf"(?:{_RU_NAME})[ ]\Z")
_RU_NUMBER_AFTER = re.compile(rf"{_RU_HOUSE}(?:{_RU_MORE}){{0,5}}")
_RU_TAIL = re.compile(rf"(?:,{_RU_PLACE.removeprefix(',?')}){{1,3}}")
_RU_LEAD = re.compile(
    r"(?:[0-9]{5,6},?[ ])?(?:(?:(?:г|гор|город|города|городе|м|местечко|с|село|пос|пгт|обл|респ|область|д"
    r"|дер|ст|кв)\.?[ ]?)?[А-ЯЁІЇЄ][^\s,;:()\.]{1,24}(?:[ ](?:обл(?:\.|асть)|область|район|р-н|край"
    r"|г))?,[ ]){1,4}\Z|[0-9]{5,6},?[ ]\Z"
)
_GREEK_AFTER = re.compile(
    r"[ ][Α-ΩΆΈΉΊΌΎΏ][^\s,;:()]{1,24}(?:[ ][Α-ΩΆΈΉΊΌΎΏ][^\s,;:()]{1,24}){0,2}[ ][0-9]{1,4}"
    r"(?:[ ]?[Α-Ωα-ω](?![α-ω]))?(?:,[ ](?:ΤΚ[ ]?)?[0-9]{3}[ ]?[0-9]{2}(?:[ ][Α-Ω][^\s,;:()]{1,24})?"
    r"|,[ ][Α-ΩΆΈΉΊΌΎΏ][^\s,;:().]{1,24}){0,3}"
)


def russian_addresses(text: str) -> Iterator[Span]:
    """Find Russian, Ukrainian, Bulgarian and Greek addresses."""
    done = 0
    for anchor in _RU_ANCHOR.finditer(text):
        if anchor.start() < done:
            continue
        start = anchor.start()
        after = _RU_AFTER.match(text, anchor.end()) or _GREEK_AFTER.match(text, anchor.end())
        if after is None:
            named = _RU_NAMED_BEFORE.search(text, max(done, start - 60), start)
            after = _RU_NUMBER_AFTER.match(text, anchor.end()) if named else None
            if named is None or after is None:
                continue
            start = named.start()
        end = after.end()
        tail = _RU_TAIL.match(text, end)
        end = tail.end() if tail else end
        lead = _RU_LEAD.search(text, max(done, start - 80), start)
        done = end
        yield address_span(lead.start() if lead else start, end, 0.8)


# Turkish: Atatürk Mahallesi, Gül Sokak No:7 Daire 4, 06530 Çankaya/Ankara
_TR_NAME = rf"(?:[0-9]{{1,4}}\.?|[{UPPER}][^\W\d_]*\.?)"
_TR_STREET = (
    r"(?:Caddesi|Cadde|Cad\.?|Cd\.?|Soka[kğ]ı?|Sok\.?|Sk\.?|Bulvarı|Blv\.?|Mahallesi|Mah\.?|Mh\.?|Yolu"
    r"|Meydanı|Sitesi|Apartmanı|Apt\.?|Çıkmazı)"
)
_TR_ANCHOR = re.compile(rf"(?<![^\W\d_]){_TR_STREET}(?![^\W\d_])")
_TR_BEFORE = re.compile(rf"(?:{_TR_NAME}[ ]){{1,4}}\Z")
_TR_PART = re.compile(
    rf"[ ]?[,/-]?[ ]?(?:(?:{_TR_NAME}[ ]){{1,4}}{_TR_STREET}(?![^\W\d_])|(?:No|Numara|Nu|D|Daire|Kat|K|Blok"
    rf"|Apt|İç Kapı No)\.?[ ]?[:.]?[ ]?[0-9]{{1,4}}(?:[/-][0-9A-Z]{{1,4}})?[A-Z]?(?![0-9A-Za-z])"
    rf"|[A-Z][ ]Blok|(?<=\w)[/][ ]?[{UPPER}][^\W\d_]+"
    rf"|(?<=[,])[ ]?(?:[0-9]{{5}}[ ])?[{UPPER}][^\W\d_]+(?:[ ]?/[ ]?[{UPPER}][^\W\d_]+)?"
    rf"|(?<![0-9])[0-9]{{5}}[ ][{UPPER}][^\W\d_]+|(?<=[0-9])[ ](?!(?:ve"
    rf"|Tel)\b)[{UPPER}][^\W\d_]+(?:[ /][{UPPER}][^\W\d_]+)?)"
)


def turkish_addresses(text: str) -> Iterator[Span]:
    """Find Turkish addresses."""
    done = 0
    for anchor in _TR_ANCHOR.finditer(text):
        if anchor.start() < done:
            continue
        before = _TR_BEFORE.search(text, max(done, anchor.start() - 60), anchor.start())
        if before is None:
            continue
        end = anchor.end()
        for _ in range(10):
            part = _TR_PART.match(text, end)
            if part is None or (text[end:].startswith(", " + part.group()[2:]) and not part.group().strip(" ,")):
                break
            end = part.end()
        found = text[before.start() : end]
        if any(map(str.isdigit, found)) or found.count(",") > 1:
            done = end
            yield address_span(before.start(), end, 0.8)


# Streets whose word comes first, in Romance and Slavic languages: Rua das Laranjeiras, 210; 14 bis rue des Tanneurs
_WORDS_FIRST = [
    r"Rua",
    r"R\.",
    r"Av\.",
    r"Avda\.?",
    r"Avenida",
    r"Calle",
    r"C/",
    r"Via",
    r"Viale",
    r"V\.le",
    r"Corso",
    r"C\.so",
    r"Piazza",
    r"P\.zza",
    r"Paseo",
    r"Plaza",
    r"Travessa",
    r"Trav\.",
    r"Alameda",
    r"Praça",
    r"Largo",
    r"Estrada",
    r"Rodovia",
    r"Carrera",
    r"Cra\.",
    r"Cl\.",
    r"Calzada",
    r"Blvd\.",
    r"Boulevard",
    r"Bulevar",
    r"Camino",
    r"Carretera",
    r"Ctra\.",
    r"Ronda",
    r"Rambla",
    r"Vicolo",
    r"Strada",
    r"Str\.",
    r"Ulica",
    r"ul\.",
    r"al\.",
    r"os\.",
    r"pl\.",
    r"Aleja",
    r"Aleje",
    r"Osiedle",
    r"Plac",
    r"Jalan",
    r"Jl\.",
    r"Đường",
    r"Privada",
    r"Prol\.",
    r"Callejón",
    r"Pasaje",
    r"Pje\.",
    r"Rue",
    r"rue",
    r"Avenue",
    r"avenue",
    r"Allée",
    r"Place",
    r"Quai",
    r"Impasse",
    r"Chemin",
    r"Bd",
]
_FIRST_LETTERS = "".join(sorted({word[0] for word in _WORDS_FIRST}))
_AFTER_FIRST_LETTER = "|".join(sorted({word[1:] for word in _WORDS_FIRST}))
# a class of first letters lets the engine jump to them
_FIRST_ANCHOR = re.compile(rf"[{_FIRST_LETTERS}](?<![^\W_][{_FIRST_LETTERS}])(?:{_AFTER_FIRST_LETTER})(?=[ ]?[^\W_])")
_FIRST_WORD = (
    r"(?:(?:de|da|do|das|dos|del|della|delle|dei|degli|di|du|des|de la|de los|de las|la|le|les|los|las|al"
    r"|e|y|św\.|gen\.|ks\.)[ ]|(?:d|l|dell|de l|all)['\u2019])"
)
_FIRST_AFTER = re.compile(
    rf"[ ]?(?:{_FIRST_WORD}{{0,3}}(?:[{UPPER}][^\s,;:()]*"
    rf"|[0-9]{{1,2}}(?=[ ][^\W\d]))[ ]?){{1,5}}(?:(?<=[ ])|,[ ]?)(?:(?:n\.?[ºo°]\.?|nº|núm\.?|num\.?|no\."
    rf"|nr\.?|#|número|km|s/n)[ ]?)?[0-9]{{1,5}}(?:[/-][0-9]{{1,4}})?[a-zA-Z]?(?![0-9A-Za-z])"
)
_FIRST_UNIT = re.compile(
    r",?[ ](?:[0-9]{1,2}[ ]?(?:\.?[ºª°]|\.)(?:[ ]?(?:[A-Z]|[Ii]zq\w*\.?|[Dd]cha\.?|[Dd]to\.?|[Ee]sq\.?"
    r"|[Dd]erecha|andar|piso))?(?![\w])|(?:apto|ap|apartamento|bloco|bl|casa|sala|piso|puerta|pta|portal"
    r"|esc|escalera|int|interno|depto|dpto|col|colonia|m|lok|scala|bât|appt|étage"
    r"|int)\.?[ ](?:[0-9]{1,4}[A-Z]?|[A-Z])(?![\w]))",
    re.IGNORECASE,
)
_FIRST_PLACE = re.compile(
    rf",[ ](?:(?:Col\.|Colonia|Bairro|Barrio|Urb\.|Residencial)[ ])?(?:[0-9]{{4,5}}(?:-[0-9]{{3}})?[ ]"
    rf"|CP[ ][0-9]{{5}}[ ]|[0-9]{{2}}-[0-9]{{3}}[ ]"
    rf"|(?:[A-Z]-)?[0-9]{{4,6}}[ ])?[{UPPER}][^\W\d_]+(?:[ '-](?:(?:de|da|do|del|la|las|los|di|e|y|sur|sous"
    rf"|en)[ ]){{0,2}}[{UPPER}][^\W\d_]+){{0,3}}(?:[ ]?[-–/][ ]?[A-Z]{{2}}\b|[ ]\([A-Z]{{2}}\)"
    rf"|[ ][0-9]{{2}}\b)?|,?[ ][0-9]{{5}}-[0-9]{{3}}(?![0-9])|,[ ]CEP[ ][0-9-]{{8,9}}"
)
_FRENCH = re.compile(
    rf"[0-9](?<![\w.,/-][0-9])[0-9]{{0,3}}(?:[ ]?(?:bis|ter|quater|[A-D]))?,?[ ](?:rue|avenue|av\."
    rf"|boulevard|bd\.?|place|allée|allées|impasse|chemin|quai|route|cours|passage|square|faubourg|villa"
    rf"|sentier|rond-point|résidence|promenade|esplanade|montée|traverse)[ ](?:(?:de|du|des|la|le|les|de la"
    rf"|aux?|et|en|saint|sainte|(?:d|l)['\u2019](?=\w))[ ]?){{0,3}}[^\W\d_][^\s,;:()]*(?:[ ](?:(?:de|du|des"
    rf"|la|le|les|et|en|sur)[ ]){{0,3}}[{UPPER}][^\s,;:()]*){{0,4}}"
    rf"(?:,?[ ](?:bât(?:iment)?|appt?|appartement|étage"
    rf"|esc)\.?[ ][0-9A-Z]{{1,4}}){{0,2}}"
    rf"(?:,?[ ](?:F-)?[0-9]{{5}}[ ][{UPPER}][^\s,;:().]*(?:[ -][{UPPER}0-9][^\s,;:().]*){{0,4}}"
    rf"|,[ ][{UPPER}][^\s,;:().]*)?",
    re.IGNORECASE,
)


def street_first_addresses(text: str) -> Iterator[Span]:
    """Find addresses whose street word comes first, with a number before or after the street."""
    if not any(map(text.__contains__, _FIRST_HINTS)):
        return
    done = 0
    for match in _FRENCH.finditer(text):
        done = match.end()
        yield address_span(match.start(), match.end() - match.group().endswith("."), 0.74)
    for anchor in _FIRST_ANCHOR.finditer(text):
        if anchor.start() < done:
            continue
        after = _FIRST_AFTER.match(text, anchor.end())
        if after is None:
            continue
        end = after.end()
        for _ in range(6):
            part = _FIRST_UNIT.match(text, end) or _FIRST_PLACE.match(text, end)
            if part is None:
                break
            end = part.end()
        done = end
        yield address_span(anchor.start(), end, 0.74)


# parts of the words above, in any case; a search for literals is ten times faster than the pattern
_FIRST_HINTS = (
    "rue", "Rue", "Av", "av", "Calle", "C/", "Via", "V.le", "C.so", "P.zza", "Corso", "iazza", "aseo", "laza",
    "Trav", "lameda", "Praça", "Largo", "strada", "Rodovia", "Carrera", "Cra.", "Cl.", "Calz", "lvd",
    "oulevard", "BOULEVARD", "ulevar", "Camino", "arretera", "Ctra", "Ronda", "Rambla", "Vicolo", "Str",
    "ul.", "Ulica", "al.", "os.", "pl.", "Alej", "Osiedle", "Plac", "Jalan", "Jl.", "Đường", "Privada",
    "Prol", "Callej", "Pasaje", "Pje", "llée", "place", "uai", "mpasse", "hemin", "Bd", "bd", "R. ", "RUE",
    "oute", "cours", "assage", "quare", "faubourg", "villa", "entier", "rond-point", "ésidence", "romenade",
    "splanade",
)  # fmt: skip
