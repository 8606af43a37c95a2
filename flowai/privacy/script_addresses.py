"""Finds addresses by each language's own words: `ул.`, `丁目`, `号`, `로`, `मार्ग`, `شارع`, `Sokak`, and streets before numbers.

Each pattern begins at a word or a number that every such address contains; what is around it is read in bounded steps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from flowai.privacy.spans import EntityType, Span
from flowai.privacy.vocabulary import UPPER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator


def _address(start: int, end: int, score: float = 0.74) -> Span:
    return Span(start=start, end=end, kind=EntityType.ADDRESS, score=score)


# Chinese: 北京市朝阳区建国路88号3号楼1502室
_HAN = "\u4e00-\u9fff"
_ZH_NUMBER = re.compile(
    r"(?:[0-9]{1,5}(?:[-之][0-9]{1,4})?|[一二三四五六七八九十百]{1,4})[ ]?(?:号|號|弄|巷|栋|幢|座|室|号楼)"
)
_ZH_BEFORE = re.compile(f"[{_HAN}0-9A-Za-z ]{{2,48}}\\Z")
_ZH_STREET = re.compile(
    r"(?:路|街|大道|大街|巷|弄|胡同|道|村|里|段|园|镇|小区|花园|公寓|大厦|广场|新村|家园|苑)[0-9一二三四五六七八九十东西南北中段]{0,4}[ ]?\Z"
)
_ZH_REST = re.compile(
    f"[ ]?(?:(?:号楼|号院|[{_HAN}]{{2,10}}(?:大厦|小区|花园|公寓|广场|中心|苑|城|园|楼))|[ ]?(?:[0-9A-Za-z]{{1,5}}|[一二三四五六七八九十]{{1,3}})[ ]?(?:号楼|号院|号|號|栋|幢|座|单元|楼|层|室|房|户|樓))"
)
_ZH_LEAD = re.compile(
    "(?:住在|住址|家住|住|地址|位于|位於|寄到|寄往|寄给|送到|送往|送至|寄至|邮寄|发到|发往|发货|搬到|配送|收货|前往|来到|去|为|是|在|到|于|至|了|给|我|他|她|们|请|把|的|从|和|与)+"
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
        yield _address(start, end, 0.8)


# Japanese: 東京都新宿区西新宿2丁目8番1号, 〒530-0001 大阪府大阪市北区梅田1-1-3 梅田ビル5階
_JA_NUMBER = re.compile(
    r"(?:[0-9]{1,4}|[一二三四五六七八九十]{1,3})(?:丁目|番地|番|号|-[0-9]{1,4})(?:[の-]?(?:[0-9]{1,4}|[一二三四五六七八九十]{1,3})(?:丁目|番地|番|号(?!室))?){0,4}"
)
_JA_LETTERS = "\u3005\u4e00-\u9fff\u3041-\u3096\u30a1-\u30fc"
_JA_BEFORE = re.compile(f"(?:〒?[0-9]{{3}}-[0-9]{{4}}[ \n]{{0,2}})?[{_JA_LETTERS} ]{{2,40}}\\Z")
_JA_REGION = re.compile(
    "(?:〒?[0-9]{3}-[0-9]{4}[ \n]{0,2})?(?:東京都|北海道|京都府|大阪府|[\u4e00-\u9fff]{2,3}県|[\u4e00-\u9fff]{1,4}?[市区郡])"
)
_JA_REST = re.compile(
    f"[ ]?(?:[{_JA_LETTERS}A-Za-z]{{2,18}}?(?:ビル|マンション|ハイツ|コーポ|アパート|荘|タワー|レジデンス|ハウス)|[0-9A-Za-z]{{1,4}}(?:号室|階|号|F))"
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
        yield _address(start, end, 0.8)


# Korean: 서울특별시 강남구 테헤란로 152, 우동 1408번지
_KO_NUMBER = re.compile(
    r"[가-힣0-9]{1,12}(?:로|길)[ ]?[0-9]{1,4}(?:-[0-9]{1,4})?(?:(?:번길|번가)[ ]?[0-9]{1,4}(?:-[0-9]{1,4})?)?(?![0-9]|[ ]?(?:개|명|번(?!지)|년|월|일|시|분|원|회|차|호선|%|배|위))"
    r"|[가-힣0-9]{1,8}(?:동|리|가)[ ](?:산[ ]?)?[0-9]{1,4}(?:-[0-9]{1,4})?(?:번지)?(?![0-9]|[ ]?(?:개|명|번(?!지)|년|월|일|시|분|원|회|차|층|%|배|위))"
)
_KO_REGION = re.compile(
    r"(?:(?:[가-힣]{1,8}(?:특별시|광역시|특별자치시|특별자치도|시|도|군|구|읍|면|동)|서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충북|충남|전북|전남|경북|경남|제주)[ ]){1,5}\Z"
)
_KO_CUE = re.compile(r"(?:주소|거주|배송지|사는 곳|집|살고|도로명)[가-힣]{0,3}[: ]{1,3}\Z")
_KO_REST = re.compile(
    r",?[ ]?(?:\([가-힣0-9, ]{2,20}\)|[가-힣A-Za-z0-9]{1,14}(?:아파트|빌딩|타워|오피스텔|빌라|맨션|캐슬|자이|푸르지오|래미안|힐스테이트)|(?:지하 ?)?[0-9A-Z]{1,5}(?:동|호|층))"
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
        yield _address(number.start() - (len(region.group()) if region else 0), end, 0.8)


# Russian, Ukrainian, Bulgarian: 123456, г. Казань, ул. Ленина, д. 15, кв. 42
_RU_STREET = (
    r"(?:ул(?:\.|иц[аеыу]\b)|вул(?:\.|иц[яіею]\b)|пр-т\b\.?|пр-кт\b\.?|просп(?:\.|ект[а-я]{0,2}\b)|пр\.|пер(?:\.|еул(?:ок|к)[а-я]{0,2}\b)|пров(?:\.|улок)"
    r"|б-р\b\.?|бул(?:\.|ьвар[а-я]{0,2}\b)|ш\.|шоссе\b|наб(?:\.|ережн(?:ая|ой|ую)\b)|пл(?:\.|ощад[ьи]\b)|проезд[а-я]{0,2}\b|мкр\.?|микрорайон[а-я]{0,2}\b"
    r"|туп(?:\.|ик)\b|аллея\b|аллее\b|линия\b|тракт\b|кв-л\b|жк\b|ж\.к\.|бульв\.|ὁδός|οδ(?:ός|ού|ό|\.)|λεωφ(?:\.|όρο[ςυ])|πλ\.|πλατεία)"
)
_RU_ANCHOR = re.compile(rf"(?<![а-яёіїα-ω]){_RU_STREET}", re.IGNORECASE)
_RU_NAME = r"(?:[0-9]{1,3}-?(?:я|й|го|е|ая|ый|ой)?[ ])?(?:[А-ЯЁІЇЄΑ-ΩΆΈΉΊΌΎΏ0-9«\"][^\s,;:()]{0,24}|им\.|имени|лет|года?)(?:[ ](?:[А-ЯЁІЇЄΑ-ΩΆΈΉΊΌΎΏ][^\s,;:()]{1,24}|лет|года?|[0-9]{1,4}(?=[ ](?:лет|года))|Победы|Октября|Мая)){0,3}"
_RU_HOUSE = r"(?:,?[ ]?(?:д(?:ом[а-я]{0,2})?\.?|буд(?:инок)?\.?|вл\.?|уч\.?|№|αρ\.?|αριθμ?\.?)?[ ]?№?[ ]?[0-9]{1,4}(?:[ ]?[а-яa-zΑ-Ω](?![а-яa-zα-ω]))?(?:[/-][0-9]{1,4}[а-я]?)?)(?![0-9])"
_RU_MORE = r"(?:,?[ ](?:к(?:орп(?:ус)?)?|стр(?:оение)?|кв(?:артира)?|оф(?:ис)?|под(?:ъезд)?|п|эт(?:аж)?|комн?(?:ната)?|лит(?:ера)?|пом|вх|ап|ет|д(?:ом)?)\.?[ ]?(?:[0-9]{1,4}[а-я]?|[А-Я])(?![0-9А-Яа-яё]))"
_RU_PLACE = r"(?:,?[ ](?:(?:г|гор|город|с|село|пос|поселок|посёлок|дер|деревня|д|пгт|обл|область|р-н|район|м|місто|гр|ст|респ|край)\.?[ ]?)?[А-ЯЁІЇЄΑ-ΩΆΈΉΊΌΎΏ][^\s,;:()\.]{1,24}(?:[ ](?:[А-ЯЁІЇЄ][а-яё-]{1,20}|обл(?:\.|асть)|область|район|р-н|край)){0,2}|,?[ ][0-9]{3}[ ]?[0-9]{2,3}(?![0-9]))"
_RU_AFTER = re.compile(rf"[ ]?{_RU_NAME}{_RU_HOUSE}(?:{_RU_MORE}){{0,5}}")
_RU_NAMED_BEFORE = re.compile(rf"(?:{_RU_NAME})[ ]\Z")
_RU_NUMBER_AFTER = re.compile(rf"{_RU_HOUSE}(?:{_RU_MORE}){{0,5}}")
_RU_TAIL = re.compile(rf"(?:,{_RU_PLACE[2:] if _RU_PLACE.startswith(',?') else _RU_PLACE}){{1,3}}")
_RU_LEAD = re.compile(
    r"(?:[0-9]{5,6},?[ ])?(?:(?:(?:г|гор|город|города|городе|м|местечко|с|село|пос|пгт|обл|респ|область|д|дер|ст|кв)\.?[ ]?)?[А-ЯЁІЇЄ][^\s,;:()\.]{1,24}(?:[ ](?:обл(?:\.|асть)|область|район|р-н|край|г))?,[ ]){1,4}\Z|[0-9]{5,6},?[ ]\Z"
)
_GREEK_AFTER = re.compile(
    r"[ ][Α-ΩΆΈΉΊΌΎΏ][^\s,;:()]{1,24}(?:[ ][Α-ΩΆΈΉΊΌΎΏ][^\s,;:()]{1,24}){0,2}[ ][0-9]{1,4}(?:[ ]?[Α-Ωα-ω](?![α-ω]))?(?:,[ ](?:ΤΚ[ ]?)?[0-9]{3}[ ]?[0-9]{2}(?:[ ][Α-Ω][^\s,;:()]{1,24})?|,[ ][Α-ΩΆΈΉΊΌΎΏ][^\s,;:().]{1,24}){0,3}"
)


def _russian(text: str) -> Iterator[Span]:
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
        yield _address(lead.start() if lead else start, end, 0.8)


# Arabic: شارع الملك فهد 45، حي العليا، الرياض
_AR_WORD = "[\u0621-\u0652]{2,}"
_AR_ANCHOR = re.compile(
    r"(?<![\u0621-\u0652])[وبفل]?(?:شارع|طريق|نهج|زنقة|ميدان|جادة|حي|حارة|زقاق|عمارة|بناية|مبنى|شقة|فيلا|منزل رقم)(?![\u0621-\u0652])"
)
_AR_AFTER = re.compile(
    rf"(?:[ ](?!رقم){_AR_WORD}){{0,5}}?(?:[ ،,]{{1,3}}(?:رقم|مبنى|عمارة|بناية|شقة|الطابق|منزل|فيلا)?[ ]?(?:رقم[ ]?)?[0-9]{{1,5}}(?![0-9/]))"
    rf"|(?:[ ]{_AR_WORD}){{1,4}}?(?=[،,.])"
)
_AR_REST = re.compile(
    rf"[ ]?[،,][ ]?(?:(?:حي|شارع|مدينة|منطقة|الطابق|شقة|مبنى|عمارة|رقم|ص\.ب\.?|الرمز البريدي|بناية)[ ])?(?:{_AR_WORD}(?:[ ]{_AR_WORD}){{0,2}}?)?(?:[ ]?[0-9]{{1,5}}(?![0-9/]))?(?=[،,.\n!؟]|\Z|[ ]?[،,])"
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
        yield _address(start, end, 0.8)


# Hindi: मकान नंबर 12, गांधी मार्ग, जयपुर 302001
_HI_WORD = "[\u0901-\u0963\u0970-\u097f]{2,}"
_HI_NUMBER = re.compile(
    r"(?:(?:मकान|घर|फ्लैट|फ़्लैट|प्लॉट|भवन|बिल्डिंग|हाउस|दुकान|कोठी|क्वार्टर)[ ]?(?:नंबर|नं\.?|संख्या|क्रमांक|सं\.?)?[ ]?)?(?<![0-9/.-])[0-9]{1,4}(?:[/-]?[0-9A-Za-zअ-ह]{1,3})?(?![0-9.])"
)
_HI_STREET = re.compile(
    r"मार्ग|रोड|नगर|कॉलोनी|कालोनी|सेक्टर|गली|विहार|पथ|चौक|बाज़ार|बाजार|मोहल्ला|मुहल्ला|एन्क्लेव|लेन|सड़क|पुरम|बाग|अपार्टमेंट|सोसायटी|टावर|स्ट्रीट|गंज|फेज|ब्लॉक"
)
_HI_PARTS = re.compile(
    rf"(?:,?[ ](?:{_HI_WORD}|[0-9A-Z]{{1,3}}(?![0-9]))){{1,4}}?(?:[ ,-]{{1,3}}[0-9]{{3}}[ ]?[0-9]{{3}}(?![0-9]))?(?=,|[.।\n]|\Z|[ ](?:में|पर|से|है|को|के|का|की|और|तक))"
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
            yield _address(number.start(), end, 0.8)


# Turkish: Atatürk Mahallesi, Gül Sokak No:7 Daire 4, 06530 Çankaya/Ankara
_TR_NAME = rf"(?:[0-9]{{1,4}}\.?|[{UPPER}][^\W\d_]*\.?)"
_TR_STREET = r"(?:Caddesi|Cadde|Cad\.?|Cd\.?|Soka[kğ]ı?|Sok\.?|Sk\.?|Bulvarı|Blv\.?|Mahallesi|Mah\.?|Mh\.?|Yolu|Meydanı|Sitesi|Apartmanı|Apt\.?|Çıkmazı)"
_TR_ANCHOR = re.compile(rf"(?<![^\W\d_]){_TR_STREET}(?![^\W\d_])")
_TR_BEFORE = re.compile(rf"(?:{_TR_NAME}[ ]){{1,4}}\Z")
_TR_PART = re.compile(
    rf"[ ]?[,/-]?[ ]?(?:(?:{_TR_NAME}[ ]){{1,4}}{_TR_STREET}(?![^\W\d_])|(?:No|Numara|Nu|D|Daire|Kat|K|Blok|Apt|İç Kapı No)\.?[ ]?[:.]?[ ]?[0-9]{{1,4}}(?:[/-][0-9A-Z]{{1,4}})?[A-Z]?(?![0-9A-Za-z])"
    rf"|[A-Z][ ]Blok|(?<=\w)[/][ ]?[{UPPER}][^\W\d_]+|(?<=[,])[ ]?(?:[0-9]{{5}}[ ])?[{UPPER}][^\W\d_]+(?:[ ]?/[ ]?[{UPPER}][^\W\d_]+)?|(?<![0-9])[0-9]{{5}}[ ][{UPPER}][^\W\d_]+|(?<=[0-9])[ ](?!(?:ve|Tel)\b)[{UPPER}][^\W\d_]+(?:[ /][{UPPER}][^\W\d_]+)?)"
)


def _turkish(text: str) -> Iterator[Span]:
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
            if part is None or text[end:].startswith(", " + part.group()[2:]) and not part.group().strip(" ,"):
                break
            end = part.end()
        found = text[before.start() : end]
        if any(map(str.isdigit, found)) or found.count(",") > 1:
            done = end
            yield _address(before.start(), end, 0.8)


# Streets whose word comes first, in Romance and Slavic languages: Rua das Laranjeiras, 210; 14 bis rue des Tanneurs
_W_FIRST = (
    r"(?:Rua|R\.|Av\.|Avda\.?|Avenida|Calle|C/|Via|Viale|V\.le|Corso|C\.so|Piazza|P\.zza|Paseo|Plaza|Travessa|Trav\.|Alameda|Praça|Largo|Estrada|Rodovia|Carrera|Cra\.|Cl\.|Calzada"
    r"|Blvd\.|Boulevard|Bulevar|Camino|Carretera|Ctra\.|Ronda|Rambla|Vicolo|Strada|Str\.|Strada|Ulica|ul\.|al\.|os\.|pl\.|Aleja|Aleje|Osiedle|Plac|Jalan|Jl\.|Đường|Privada|Prol\.|Callejón|Pasaje|Pje\.|Rue|rue|Avenue|avenue|Allée|Place|Quai|Impasse|Chemin|Bd)"
)
_FIRST_ANCHOR = re.compile(rf"(?<![^\W_]){_W_FIRST}(?=[ ]?[^\W_])")
_FIRST_WORD = rf"(?:(?:de|da|do|das|dos|del|della|delle|dei|degli|di|du|des|de la|de los|de las|la|le|les|los|las|al|e|y|św\.|gen\.|ks\.)[ ]|(?:d|l|dell|de l|all)['\u2019])"
_FIRST_AFTER = re.compile(
    rf"[ ]?(?:{_FIRST_WORD}{{0,3}}(?:[{UPPER}][^\s,;:()]*|[0-9]{{1,2}}(?=[ ][^\W\d]))[ ]?){{1,5}}(?:(?<=[ ])|,[ ]?)(?:(?:n\.?[ºo°]\.?|nº|núm\.?|num\.?|no\.|nr\.?|#|número|km|s/n)[ ]?)?[0-9]{{1,5}}(?:[/-][0-9]{{1,4}})?[a-zA-Z]?(?![0-9A-Za-z])"
)
_FIRST_UNIT = re.compile(
    r",?[ ](?:[0-9]{1,2}[ ]?(?:\.?[ºª°]|\.)(?:[ ]?(?:[A-Z]|[Ii]zq\w*\.?|[Dd]cha\.?|[Dd]to\.?|[Ee]sq\.?|[Dd]erecha|andar|piso))?(?![\w])|(?:apto|ap|apartamento|bloco|bl|casa|sala|piso|puerta|pta|portal|esc|escalera|int|interno|depto|dpto|col|colonia|m|lok|scala|bât|appt|étage|int)\.?[ ](?:[0-9]{1,4}[A-Z]?|[A-Z])(?![\w]))",
    re.IGNORECASE,
)
_FIRST_PLACE = re.compile(
    rf",[ ](?:(?:Col\.|Colonia|Bairro|Barrio|Urb\.|Residencial)[ ])?(?:[0-9]{{4,5}}(?:-[0-9]{{3}})?[ ]|CP[ ][0-9]{{5}}[ ]|[0-9]{{2}}-[0-9]{{3}}[ ]|(?:[A-Z]-)?[0-9]{{4,6}}[ ])?[{UPPER}][^\W\d_]+(?:[ '-](?:(?:de|da|do|del|la|las|los|di|e|y|sur|sous|en)[ ]){{0,2}}[{UPPER}][^\W\d_]+){{0,3}}(?:[ ]?[-–/][ ]?[A-Z]{{2}}\b|[ ]\([A-Z]{{2}}\)|[ ][0-9]{{2}}\b)?|,?[ ][0-9]{{5}}-[0-9]{{3}}(?![0-9])|,[ ]CEP[ ][0-9-]{{8,9}}"
)
_FRENCH = re.compile(
    rf"(?<![\w.,/-])[0-9]{{1,4}}(?:[ ]?(?:bis|ter|quater|[A-D]))?,?[ ](?:rue|avenue|av\.|boulevard|bd\.?|place|allée|allées|impasse|chemin|quai|route|cours|passage|square|faubourg|villa|sentier|rond-point|résidence|promenade|esplanade|montée|traverse)[ ](?:(?:de|du|des|la|le|les|de la|aux?|et|en|saint|sainte|(?:d|l)['\u2019](?=\w))[ ]?){{0,3}}[^\W\d_][^\s,;:()]*(?:[ ](?:(?:de|du|des|la|le|les|et|en|sur)[ ]){{0,3}}[{UPPER}][^\s,;:()]*){{0,4}}"
    rf"(?:,?[ ](?:bât(?:iment)?|appt?|appartement|étage|esc)\.?[ ][0-9A-Z]{{1,4}}){{0,2}}(?:,?[ ](?:F-)?[0-9]{{5}}[ ][{UPPER}][^\s,;:().]*(?:[ -][{UPPER}0-9][^\s,;:().]*){{0,4}}|,[ ][{UPPER}][^\s,;:().]*)?",
    re.IGNORECASE,
)


def _street_first(text: str) -> Iterator[Span]:
    done = 0
    for match in _FRENCH.finditer(text):
        done = match.end()
        yield _address(match.start(), match.end() - match.group().endswith("."), 0.74)
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
        yield _address(anchor.start(), end, 0.74)


_FIRST_HINT = re.compile(
    rf"{_FIRST_ANCHOR.pattern}|[0-9],?[ ](?:bis |ter |quater |[A-D] )?(?:rue|avenue|av\\.|boulevard|bd|place|allée|impasse|chemin|quai|route|cours|passage|square)",
    re.IGNORECASE,
)


class _LanguageFinder(NamedTuple):
    hint: re.Pattern[str]
    find: Callable[[str], Iterator[Span]]


_FINDERS: dict[str, _LanguageFinder] = {
    "zh": _LanguageFinder(re.compile("[号號弄巷室栋幢座]"), _chinese),
    "ja": _LanguageFinder(re.compile("[都道府県市区郡丁]"), _japanese),
    "ko": _LanguageFinder(re.compile("[로길동리가] ?[0-9]"), _korean),
    "ru": _LanguageFinder(re.compile("[\u0386-\u03ff\u0400-\u04ff]"), _russian),
    "ar": _LanguageFinder(re.compile("[\u0621-\u064a]"), _arabic),
    "hi": _LanguageFinder(re.compile("[\u0904-\u0939]"), _hindi),
    "tr": _LanguageFinder(re.compile("Cad|Cd|Sok|Sk|Bulvar|Blv|Mah|Mh|Yolu|Meydan|Sites|Apartman|Çıkmaz"), _turkish),
    "": _LanguageFinder(_FIRST_HINT, _street_first),
}


class ScriptAddressFinder:
    """Finds addresses by each language's words. `languages` limits those with words of their own; None: all."""

    def __init__(self, languages: Collection[str] | None = None) -> None:
        self._finders = tuple(
            finder
            for language, finder in _FINDERS.items()
            if languages is None or not language or language in languages
        )

    def find(self, text: str) -> Iterator[Span]:
        """Find street addresses with number; the text contains a digit."""
        for finder in self._finders:
            if finder.hint.search(text):
                yield from finder.find(text)
