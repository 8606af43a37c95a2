"""Detects answers that are refusals ("I'm sorry, but I can't help with that"), in several languages.

Only the beginning is read, and only a model's refusals in the first person count: "we cannot refund tickets" and "I
can't believe it" are answers.
"""

from __future__ import annotations

import re
from functools import cache

from flowai.finetune.dedup.shingles import folded

_BEGINNING_CHARACTER_COUNT = 240

_CANNOT = (
    r"i (?:can(?:no|')t|can not|could(?: not|n't)|will not|won't"
    r"|must decline(?: to)?|do(?: not|n't) have the ability to)"
)
_UNABLE = r"i(?: am|'m) (?:not able|unable|not comfortable|not allowed|not permitted)(?: to)?"
_ADVERBS = r"(?:,? (?:be able to|directly|in good conscience|really|to|and won't|and will not))*"
_DONE = (
    r"(?:help|assist|provid|creat|generat|writ|produc|fulfil|compl[yie]|answer|respond|do (?:that|this)|discuss|engag"
    r"|support|offer|shar|continu|process|access|brows)\w*"
)
_PATTERNS = (
    rf"\b(?:{_CANNOT}|{_UNABLE}){_ADVERBS},? (?:{_DONE}|with)\b",
    rf"\b{_CANNOT}[.!]?$",
    r"\bas an? (?:ai|artificial intelligence|large language model|language model)\b",
    r"\bi(?: am|'m) (?:just |only )?an? (?:ai|language model)\b",
    r"\b(?:against|violates?) (?:my|openai's) (?:guidelines|polic(?:y|ies)|programming)",
    # German, Dutch
    r"\bich (?:kann|darf|werde) (?:\w+ ){0,6}?nicht (?:\w+ )?(?:weiterhelfen|helfen|beantworten|erstellen)",
    r"\bdabei kann ich (?:\w+ ){0,3}?nicht",
    r"\bals (?:ki\b|sprachmodell|künstliche intelligenz|een ai\b|ai\b|taalmodel)",
    r"\bik kan (?:\w+ ){0,4}?niet (?:mee )?(?:bij )?(?:helpen|beantwoorden)",
    # French
    r"\bje ne (?:peux|puis) pas (?:vous |t')?(?:aider|assister|répondre|fournir|faire|créer)",
    r"\bje ne suis pas (?:en mesure|capable)",
    r"\ben tant qu(?:e modèle|'ia\b|'intelligence)",
    # Spanish, Portuguese, Italian
    r"\bno puedo (?:ayudar|asistir|proporcionar|responder|cumplir|crear|hacer)",
    r"\bcomo (?:una? |um )?(?:modelo de (?:lenguaje|linguagem)|ia\b|inteligencia artificial|inteligência artificial)",
    r"\bnão (?:posso|consigo) (?:ajudar|fornecer|responder|criar|fazer|atender)",
    r"\bnon posso (?:aiutar|fornire|rispondere|creare|assister)",
    r"\bin quanto (?:ia\b|intelligenza artificiale|modello)",
    # Russian
    r"\bя не могу (?:помочь|ответить|выполнить|предоставить|создать)",
    r"\bкак (?:языковая модель|ии\b)",  # noqa: RUF001 - Russian
    # Chinese, Japanese, Korean
    r"我(?:无法|不能)(?:提供|帮助|回答|满足|协助|完成|生成)",
    r"作为(?:一个|一名)?(?:ai|人工智能|语言模型)",
    r"(?:申し訳|すみません|恐れ入り).{0,30}(?:できません|できかねます|いたしかねます)",
    r"言語モデルとして",
    r"죄송(?:합니다|하지만).{0,40}(?:없습니다|어렵습니다)",
)


def is_refusal(answer: str) -> bool:
    """Return whether an answer begins with a refusal."""
    beginning = folded(answer[: 2 * _BEGINNING_CHARACTER_COUNT])[:_BEGINNING_CHARACTER_COUNT]
    return _refusal().search(beginning.replace("\u2019", "'")) is not None


@cache
def _refusal() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS))
