"""Finds Chinese, Japanese and Korean names: family names of the lists, and what may be beside a name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowai.privacy.spans import person_span
from flowai.privacy.vocabulary import names_by_script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.privacy.spans import Span

_HAN = "\u3005\u4e00-\u9fff"
_KANA = "\u3041-\u309f\u30a1-\u30fa\u30fc"
_HAN_LETTER = re.compile("[\u4e00-\u9fff]")


# Chinese
_ZH_TITLE = re.compile(
    "(?:先生|女士|小姐|太太|夫人|老师|老師|教授|医生|醫生|大夫|经理|經理|律师|律師|总监|总裁|董事长|同学"
    "|同學|博士|主任|院士|警官|师傅|师父|阿姨"
    "|叔叔|女儿|儿子|同志|工程师|客服|护士|校长|局长|处长|科长|部长|秘书|总(?![共计和额是数])"
    "|(?:的)?(?:电话|手机|邮箱|地址|身份证|账户|账号|银行卡|信用卡|生日|护照))"
)
_ZH_CUE = re.compile(
    "(?:我叫|我是|叫做|名叫|名字叫|名字是|名为|全名|姓名|名字|本人|联系人|聯絡人|收件人|收货人|寄件人"
    "|客户|客戶|患者|病人|用户|用戶|申请人|持卡人|户名|员工"
    "|寄给|交给|转给|发给|致电|通知|联系|尊敬的|亲爱的|同事|朋友|老板|邻居|丈夫|妻子|儿子|女儿|父亲|母亲"
    "|哥哥|姐姐|弟弟|妹妹|老师|医生|经理|律师"
    '|作者|嘉宾|主任|教授|负责人|经办人|投保人|学生)(?:[:是为叫]|名叫|名字叫)?[ "“]?\\Z'
)
_ZH_BEFORE = frozenset("和与跟给对向请把被由是找问让同叫及、，。！？：；（「“《 \n,.:;!?(\"'>|\t】是了")
_ZH_AFTER = frozenset(
    "的在是说和与于了到把被给对从将就也都又来去谈已曾会要想有没不以因为用通由住打，。！？、：；（）」”》 "
    "\n,.:;!?)\"'<|\t【您你，今昨明上"
)
_ZH_COMPOUND = 2
_ZH_CONTEXT = 8


def chinese_names(text: str) -> Iterator[Span]:
    """Find Chinese names, without titles."""
    surnames, no_names = names_by_script("Chinese surnames"), names_by_script("Chinese no names")
    done = 0
    for match in _HAN_LETTER.finditer(text):
        start = match.start()
        if start < done:
            continue
        family = 2 if text[start : start + 2] in surnames else 1 if text[start] in surnames else 0
        if not family or text[start : start + 2] in no_names:
            continue
        end = _chinese_end(text, start, family)
        if end:
            done = end
            yield person_span(start, end, 0.7)


def _chinese_end(text: str, start: int, family: int) -> int:
    """Return the end of a name that begins with a family name of `family` characters; 0 without one."""
    given = names_by_script("Chinese given characters")
    first = start + family
    lead = text[max(0, start - _ZH_CONTEXT) : start]
    has_cue = _ZH_CUE.search(lead) is not None
    is_open = has_cue or start == 0 or text[start - 1] in _ZH_BEFORE or not _HAN_LETTER.match(text[start - 1])
    for count in (2, 1):
        end = first + count
        part = text[first:end]
        if len(part) < count or not all(map(_HAN_LETTER.match, part)):
            continue
        listed = all(character in given for character in part)
        title = _ZH_TITLE.match(text, end)
        closed = end >= len(text) or text[end] in _ZH_AFTER or not _HAN_LETTER.match(text[end])
        if (title and (is_open or listed)) or (has_cue and (closed or listed)):
            return end
        if listed and closed and (is_open or count == _ZH_COMPOUND):
            return end
        if listed and is_open and count == _ZH_COMPOUND:
            return end
    if is_open and _ZH_TITLE.match(text, first) and not text.startswith(("总", "的", "电话", "手机", "地址"), first):
        return first
    return 0


# Japanese
_JA_HONORIFIC = re.compile("[ \u3000]?(?:さん|さま|様|氏|くん|君|ちゃん|先生|部長|課長|社長|教授|医師|殿|選手|監督)")
_JA_AFTER = re.compile(
    "[ \u3000]?(?:と申|といい|と言|です|でした|は|が|の|に|を|へ|と|も|や|、|,|\\.|\n|\\)|）|」|より|から"
    "|宛|\\(|（|\\Z)"
)
_JA_CUE = re.compile(
    "(?:名前は|氏名[は:]?|お名前[は:]?|名前[:]|私は|わたしは|僕は|担当者?[は:の]?|お客様名[は:]?"
    "|顧客名?[は:]?|患者[はの:]?|申込者[は:]?|受取人[は:]?"
    "|宛名[は:]?|届け先[は:]?|差出人[は:]?"
    "|契約者[は:]?|名義人?[は:]?|同僚の|友人の|上司の|夫の|妻の|息子の|娘の|母の|父の|弁護士の|医師の"
    "|フリガナ[は:]?|ふりがな[は:]?)[ \u3000]?\\Z"
)
_JA_KANJI = re.compile(f"[{_HAN}]")
_JA_GIVEN = re.compile(
    f"[ \u3000]?(?P<given>[{_HAN}]{{1,3}}|[\u3041-\u3096]{{2,4}}(?=さん|様|氏|くん|ちゃん|です|と申|宛|、|。|\\."
    f"|[はがの][\u4e00-\u9fff]|$|\n)|[\u30a1-\u30fa\u30fc]{{2,6}})"
)
_JA_PLACE_END = frozenset("県市区町村郡駅川山港橋線店社校署院部課館園城寺宮店局庁街道州国語人製円年月日")
_JA_KATAKANA_NAME = re.compile(
    "[\u30a1-\u30fa\u30fc]{2,12}(?:[・= \u3000][\u30a1-\u30fa\u30fc]{2,12}){1,3}"
    "|[\u30a1-\u30fa\u30fc]{2,10}(?=さん|様|氏|くん|ちゃん)"
)
_JA_NO_NAMES = frozenset(
    ["ユーザー", "オーナー", "スタッフ", "メンバー", "サポート", "マネージャー", "ドライバー", "ゲスト", "ファン"]
)
_JA_ANY = re.compile(f"[{_HAN}]{{2,6}}(?:[ \u3000][{_HAN}{_KANA}]{{1,5}})?|[{_KANA}]{{2,6}}[ \u3000][{_KANA}]{{2,6}}")
_JA_NO_HONORED = frozenset("客皆神奥王姫母父兄姉祖嬢者屋員方子様何上下同仕有模異多")
_JA_CONTEXT = 12
_LONGEST_JA_SURNAME = 3


def japanese_names(text: str) -> Iterator[Span]:
    """Find Japanese names, without titles."""
    for match in _JA_KATAKANA_NAME.finditer(text):
        is_spaced = " " in match.group() or "\u3000" in match.group()
        lead = text[max(0, match.start() - _JA_CONTEXT) : match.start()]
        if match.group() not in _JA_NO_NAMES and (not is_spaced or _JA_CUE.search(lead)):
            yield person_span(match.start(), match.end(), 0.65)
    done = 0
    for match in _JA_KANJI.finditer(text):
        start = match.start()
        if start < done:
            continue
        end = _japanese_end(text, start)
        if end:
            done = end
            yield person_span(start, end, 0.7)


def _japanese_end(text: str, start: int) -> int:
    surnames = names_by_script("Japanese surnames")
    lead = text[max(0, start - _JA_CONTEXT) : start]
    is_inside = start > 0 and _JA_KANJI.match(text[start - 1]) is not None
    cued = _JA_ANY.match(text, start) if _JA_CUE.search(lead) else None
    if cued and (_JA_AFTER.match(text, cued.end()) or _JA_HONORIFIC.match(text, cued.end())):
        return cued.end()
    if is_inside and not lead.endswith(
        ("担当", "同僚", "部長", "課長", "社長", "医師", "弁護士", "患者", "顧客", "会員")
    ):
        return 0
    for count in range(_LONGEST_JA_SURNAME, 0, -1):
        first = start + count
        if text[start:first] not in surnames:
            continue
        if _JA_HONORIFIC.match(text, first):
            return first
        end = _japanese_given_end(text, first, count)
        if end:
            return end
    return 0


def _japanese_given_end(text: str, first: int, count: int) -> int:
    """Return the end of a given name after a family name of `count` characters; 0 without one."""
    given = _JA_GIVEN.match(text, first)
    if given is None:
        return 0
    part, is_spaced = given.group("given"), given.group()[0] in " \u3000"
    end = given.end()
    if _JA_KANJI.match(part[0]):
        if _JA_KANJI.match(text[end : end + 1]) and not _JA_HONORIFIC.match(text, end):
            return 0
        for title in ("様", "氏", "君", "殿"):
            if len(part) > 1 and part.endswith(title):
                return end - 1
        if part[-1] in _JA_PLACE_END or (count == 1 and not is_spaced and len(part) == 1):
            return 0
    elif not is_spaced and part[0] >= "\u30a1":
        return 0
    return end if _JA_HONORIFIC.match(text, end) or _JA_AFTER.match(text, end) else 0


# Korean
_KO_TITLE = re.compile(
    " ?(?:씨|님|군|양(?![가-힣])|선생님|선생|교수님?|대리|과장|부장|팀장|사장|대표|이사|차장|주임|원장"
    "|고객님?|환자|의사|변호사|기자|박사|작가|감독|선수|어머니|아버지|할머니|할아버지)"
)
_KO_AFTER = re.compile(
    "(?:은|는|이|가|을|를|의|에게|한테|께서|께|와|과|랑|이랑|도|만|입니다|이라고|라고|이고|이며|이에요"
    "|예요|이었|였|으로|로|이었|님|씨)(?![가-힣])"
    '|입니다|이라고|라고|이고|에게|한테|께서|[,.\n)!?:;]|\\Z|\\(|/|\\||"'
)
_KO_CUE = re.compile(
    "(?:이름은|이름[:]|이름이|성함[은:이]?|성명[은:]?|고객명?[은:]?|담당자?[는은:]?|받는 ?사람[은:]?"
    "|보내는 ?사람[은:]?|수취인[은:]?|수령인[은:]?"
    "|예금주[는은:]?|환자명?[은:]?|신청자[는:]?|작성자[는:]?"
    "|대표자?[는:]?|저는|제가|나는|친구|동료|남편|아내|아들|딸|어머니|아버지|선생님|변호사|의사|고객|직원"
    "|회원)[: ]{1,2}\\Z"
)
_KO_RUN = re.compile("[가-힣]{2,}")
_KO_CONTEXT = 14
_KO_MAX = 4


def korean_names(text: str) -> Iterator[Span]:
    """Find Korean names, without titles."""
    for run in _KO_RUN.finditer(text):
        end = _korean_end(text, run.start(), run.end())
        if end:
            yield person_span(run.start(), end, 0.7)


def _korean_end(text: str, start: int, stop: int) -> int:
    """Return the end of a name at the start of a run of Korean syllables; 0 without one."""
    surnames, given, no_names = (
        names_by_script("Korean surnames"),
        names_by_script("Korean given syllables"),
        names_by_script("Korean no names"),
    )
    family = 2 if text[start : start + 2] in surnames else 1 if text[start] in surnames else 0
    if not family:
        return 0
    has_cue = _KO_CUE.search(text[max(0, start - _KO_CONTEXT) : start]) is not None
    if text[start : start + 2] in no_names or text[start : start + 3] in no_names:
        return 0
    for count in (2, 1):
        end = start + family + count
        if end > stop:
            continue
        listed = all(syllable in given for syllable in text[start + family : end])
        title = _KO_TITLE.match(text, end)
        closed = _KO_AFTER.match(text, end) is not None or (has_cue and text[end : end + 1] == " ")
        is_whole = count + family > _KO_MAX - 2
        if (
            (title and (listed or has_cue))
            or (has_cue and closed and is_whole)
            or (listed and closed and is_whole and count > 1)
        ):
            return end
    return 0
