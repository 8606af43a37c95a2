"""Finds addresses by each language's own words: `ул.`, `丁目`, `号`, `로`, `मार्ग`, `شارع`, `Sokak`, `Rua`.

Each pattern begins at a word or a number that every such address contains; what is around it is read in bounded steps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from flowai.privacy.scripts.street_addresses import russian_addresses, street_first_addresses, turkish_addresses
from flowai.privacy.spans import address_span

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from flowai.privacy.spans import Span


# Chinese: a street or a lane, then a number, with province, city and district before it
_HAN = "\u4e00-\u9fff"
_ZH_NUMBER = re.compile(
    r"(?:[0-9]{1,5}(?:[-之][0-9]{1,4})?|[一二三四五六七八九十百]{1,4})[ ]?(?:号|號|弄|巷|栋|幢|座|室|号楼)"
)
_ZH_BEFORE = re.compile(f"[{_HAN}0-9A-Za-z ]{{2,48}}\\Z")
_ZH_STREET = re.compile(
    r"(?:路|街|大道|大街|巷|弄|胡同|道|村|里|段|园|镇|小区|花园|公寓|大厦|广场|新村|家园"
    r"|苑)[0-9一二三四五六七八九十东西南北中段]{0,4}[ ]?\Z"
)
_ZH_REST = re.compile(
    f"[ ]?(?:(?:号楼|号院|[{_HAN}]{{2,10}}(?:大厦|小区|花园|公寓|广场|中心|苑|城|园|楼))|[ ]?(?:[0-9A-Za-z]{{1,5}}"
    f"|[一二三四五六七八九十]{{1,3}})[ ]?(?:号楼|号院|号|號|栋|幢|座|单元|楼|层|室|房|户|樓))"
)
_ZH_LEAD = re.compile(
    "(?:住在|住址|家住|住|地址|位于|位於|寄到|寄往|寄给|送到|送往|送至|寄至|邮寄|发到|发往|发货|搬到|配送"
    "|收货|前往|来到|去|为|是|在|到|于|至|了|给|我|他|她|们|请|把|的|从|和|与)+"
)
_ZH_REGION = re.compile(f"(?:北京|上海|天津|重庆|[{_HAN}]{{2,3}}(?:省|自治区))|[{_HAN}]{{2,4}}?(?:市|县|區|区)")


def _chinese(text: str) -> Iterator[Span]:
    done = 0
    for number in _ZH_NUMBER.finditer(text):
        if number.start() < done:
            continue
        before = _ZH_BEFORE.search(text, max(done, number.start() - 48), number.start())
        if before is None or not (_ZH_STREET.search(before.group())):
            continue
        lead = before.group()
        offset = before.start()
        region = _ZH_REGION.search(lead)
        cut = 0
        for match in _ZH_LEAD.finditer(lead, 0, region.start() + 4 if region else len(lead) - 2):
            if match.end() <= len(lead) - 2:
                cut = match.end() if region is None or match.start() <= region.start() + 1 else cut
        end = number.end()
        while (rest := _ZH_REST.match(text, end)) is not None:
            end = rest.end()
        done = end
        start = offset + cut
        while text[start] == " ":
            start += 1
        yield address_span(start, end, 0.8)


# Japanese: 東京都新宿区西新宿2丁目8番1号, 〒530-0001 大阪府大阪市北区梅田1-1-3 梅田ビル5階
_JA_NUMBER = re.compile(
    r"(?:[0-9]{1,4}|[一二三四五六七八九十]{1,3})(?:丁目|番地|番|号|-[0-9]{1,4})(?:[の-]?(?:[0-9]{1,4}"
    r"|[一二三四五六七八九十]{1,3})(?:丁目|番地|番|号(?!室))?){0,4}"
)
_JA_LETTERS = "\u3005\u4e00-\u9fff\u3041-\u3096\u30a1-\u30fc"
_JA_BEFORE = re.compile(f"(?:〒?[0-9]{{3}}-[0-9]{{4}}[ \n]{{0,2}})?[{_JA_LETTERS} ]{{2,40}}\\Z")
_JA_REGION = re.compile(
    "(?:〒?[0-9]{3}-[0-9]{4}[ \n]{0,2})?(?:東京都|北海道|京都府|大阪府|[\u4e00-\u9fff]{2,3}県"
    "|[\u4e00-\u9fff]{1,4}?[市区郡])"
)
_JA_REST = re.compile(
    f"[ ]?(?:[{_JA_LETTERS}A-Za-z]{{2,18}}?(?:ビル|マンション|ハイツ|コーポ|アパート|荘|タワー|レジデンス"
    f"|ハウス)|[0-9A-Za-z]{{1,4}}(?:号室|階|号|F))"
)


def _japanese(text: str) -> Iterator[Span]:
    done = 0
    for number in _JA_NUMBER.finditer(text):
        if number.start() < done:
            continue
        before = _JA_BEFORE.search(text, max(done, number.start() - 52), number.start())
        region = None if before is None else _JA_REGION.search(before.group())
        if before is None or region is None:
            continue
        start = before.start() + region.start()
        lead = before.group()[: region.end()]
        skipped = max(lead.rfind(particle, region.start()) for particle in ("は", "が", "に", "を", "で", "の"))
        start = before.start() + skipped + 1 if skipped >= 0 else start
        end = number.end()
        while (rest := _JA_REST.match(text, end)) is not None:
            end = rest.end()
        done = end
        yield address_span(start, end, 0.8)


# Korean: 서울특별시 강남구 테헤란로 152, 우동 1408번지
_KO_NUMBER = re.compile(
    r"[가-힣0-9]{1,12}(?:로|길)[ ]?[0-9]{1,4}(?:-[0-9]{1,4})?(?:(?:번길"
    r"|번가)[ ]?[0-9]{1,4}(?:-[0-9]{1,4})?)?(?![0-9]|[ ]?(?:개|명|번(?!지)|년|월|일|시|분|원|회|차|호선|%|배|위))"
    r"|[가-힣0-9]{1,8}(?:동|리|가)[ ](?:산[ ]?)?[0-9]{1,4}(?:-[0-9]{1,4})?(?:번지)?(?![0-9]|[ ]?(?:개|명"
    r"|번(?!지)|년|월"
    r"|일|시|분|원|회|차|층|%|배|위))"
)
_KO_REGION = re.compile(
    r"(?:(?:[가-힣]{1,8}(?:특별시|광역시|특별자치시|특별자치도|시|도|군|구|읍|면|동)|서울|부산|대구|인천"
    r"|광주|대전|울산|세종|경기|강원|충북|충남|전북|전남|경북"
    r"|경남|제주)[ ]){1,5}\Z"
)
_KO_CUE = re.compile(r"(?:주소|거주|배송지|사는 곳|집|살고|도로명)[가-힣]{0,3}[: ]{1,3}\Z")
_KO_REST = re.compile(
    r",?[ ]?(?:\([가-힣0-9, ]{2,20}\)|[가-힣A-Za-z0-9]{1,14}(?:아파트|빌딩|타워|오피스텔|빌라|맨션|캐슬"
    r"|자이|푸르지오|래미안|힐스테이트)"
    r"|(?:지하 ?)?[0-9A-Z]{1,5}(?:동|호|층))"
)


def _korean(text: str) -> Iterator[Span]:
    for number in _KO_NUMBER.finditer(text):
        lead = text[max(0, number.start() - 40) : number.start()]
        region = _KO_REGION.search(lead)
        if region is None and not _KO_CUE.search(lead):
            continue
        end = number.end()
        while (rest := _KO_REST.match(text, end)) is not None:
            end = rest.end()
        yield address_span(number.start() - (len(region.group()) if region else 0), end, 0.8)


# Arabic: شارع الملك فهد 45، حي العليا، الرياض
_AR_WORD = "[\u0621-\u0652]{2,}"
_AR_ANCHOR = re.compile(
    r"(?<![\u0621-\u0652])[وبفل]?(?:شارع|طريق|نهج|زنقة|ميدان|جادة|حي|حارة|زقاق|عمارة|بناية|مبنى|شقة|فيلا"
    r"|منزل رقم)(?![\u0621-\u0652])"
)
_AR_AFTER = re.compile(
    rf"(?:[ ](?!رقم){_AR_WORD}){{0,5}}?(?:[ ،,]{{1,3}}(?:رقم|مبنى|عمارة|بناية|شقة|الطابق|منزل"
    rf"|فيلا)?[ ]?(?:رقم[ ]?)?[0-9]{{1,5}}(?![0-9/]))"
    rf"|(?:[ ]{_AR_WORD}){{1,4}}?(?=[،,.])"
)
_AR_REST = re.compile(
    rf"[ ]?[،,][ ]?(?:(?:حي|شارع|مدينة|منطقة|الطابق|شقة|مبنى|عمارة|رقم|ص\.ب\.?|الرمز البريدي"
    rf"|بناية)[ ])?(?:{_AR_WORD}(?:[ ]{_AR_WORD}){{0,2}}?)?(?:[ ]?[0-9]{{1,5}}(?![0-9/]))?(?=[،,.\n!؟]|\Z"
    rf"|[ ]?[،,])"
)
_AR_NUMBER_BEFORE = re.compile(r"(?<![0-9/])[0-9]{1,5}[ ،,]{1,2}\Z")
_AR_CUE = re.compile(r"(?:عنوان\w*|أسكن|أعيش|يسكن|تسكن|العنوان|مقيم\w*|توصيل\w*|إلى العنوان)[ :]{1,2}(?:هو |في |ب)?\Z")


def _arabic(text: str) -> Iterator[Span]:
    done = 0
    for anchor in _AR_ANCHOR.finditer(text):
        if anchor.start() < done:
            continue
        number = _AR_NUMBER_BEFORE.search(text, max(done, anchor.start() - 8), anchor.start())
        after = _AR_AFTER.match(text, anchor.end())
        if after is None:
            continue
        start = number.start() if number else anchor.start()
        end, parts = after.end(), 0
        while parts < 5 and (rest := _AR_REST.match(text, end)) is not None and rest.end() > end + 1:  # noqa: PLR2004 - parts
            end, parts = rest.end(), parts + 1
        has_number = any(map(str.isdigit, text[start:end]))
        if not (has_number or _AR_CUE.search(text[max(0, start - 24) : start])):
            continue
        done = end
        yield address_span(start, end, 0.8)


# Hindi: मकान नंबर 12, गांधी मार्ग, जयपुर 302001
_HI_WORD = "[\u0901-\u0963\u0970-\u097f]{2,}"
_HI_NUMBER = re.compile(
    r"(?:(?:मकान|घर|फ्लैट|फ़्लैट|प्लॉट|भवन|बिल्डिंग|हाउस|दुकान|कोठी|क्वार्टर)[ ]?(?:नंबर|नं\.?|संख्या"
    r"|क्रमांक|सं\.?)?[ ]?)?(?<![0-9/.-])[0-9]{1,4}(?:[/-]?[0-9A-Za-zअ-ह]{1,3})?(?![0-9.])"
)
_HI_STREET = re.compile(
    r"मार्ग|रोड|नगर|कॉलोनी|कालोनी|सेक्टर|गली|विहार|पथ|चौक|बाज़ार|बाजार|मोहल्ला|मुहल्ला|एन्क्लेव|लेन|सड़क"
    r"|पुरम|बाग|अपार्टमेंट|सोसायटी|टावर|स्ट्रीट|गंज|फेज|ब्लॉक"
)
_HI_PARTS = re.compile(
    rf"(?:,?[ ](?:{_HI_WORD}"
    rf"|[0-9A-Z]{{1,3}}(?![0-9]))){{1,4}}?(?:[ ,-]{{1,3}}[0-9]{{3}}[ ]?[0-9]{{3}}(?![0-9]))?(?=,|[.।\n]|\Z"
    rf"|[ ](?:में|पर|से|है|को|के|का|की|और|तक))"
)
_HI_HOUSE_BEFORE = re.compile(r"(?:मकान|घर|फ्लैट|फ़्लैट|प्लॉट|भवन|हाउस|दुकान|कोठी|क्वार्टर)")


def _hindi(text: str) -> Iterator[Span]:
    done = 0
    for number in _HI_NUMBER.finditer(text):
        if number.start() < done:
            continue
        end = number.end()
        for _ in range(6):
            part = _HI_PARTS.match(text, end)
            if part is None:
                break
            end = part.end()
            if text[end : end + 1] != ",":
                break
        found = text[number.start() : end]
        if _HI_STREET.search(found):
            done = end
            yield address_span(number.start(), end, 0.8)


class _LanguageFinder(NamedTuple):
    hint: re.Pattern[str]
    find: Callable[[str], Iterator[Span]]


_FINDERS: dict[str, _LanguageFinder] = {
    "zh": _LanguageFinder(re.compile("[号號弄巷室栋幢座]"), _chinese),
    "ja": _LanguageFinder(re.compile("[都道府県市区郡丁]"), _japanese),
    "ko": _LanguageFinder(re.compile("[로길동리가] ?[0-9]"), _korean),
    "ru": _LanguageFinder(re.compile("[\u0386-\u03ff\u0400-\u04ff]"), russian_addresses),
    "ar": _LanguageFinder(re.compile("[\u0621-\u064a]"), _arabic),
    "hi": _LanguageFinder(re.compile("[\u0904-\u0939]"), _hindi),
    "tr": _LanguageFinder(
        re.compile("Cad|Cd|Sok|Sk|Bulvar|Blv|Mah|Mh|Yolu|Meydan|Sites|Apartman|Çıkmaz"), turkish_addresses
    ),
}


class ScriptAddressFinder:
    """Finds addresses by each language's words. `languages` limits those with words of their own; None: all."""

    def __init__(self, languages: Collection[str] | None = None) -> None:
        self._finders = tuple(
            finder for language, finder in _FINDERS.items() if languages is None or language in languages
        )

    def find(self, text: str) -> Iterator[Span]:
        """Find street addresses with number; the text contains a digit."""
        yield from street_first_addresses(text)
        for finder in self._finders:
            if finder.hint.search(text):
                yield from finder.find(text)
