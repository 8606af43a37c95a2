"""Detects properties of requests by SQL: their language, and distinctive words."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from flowai.analytics.event_query import literal
from flowai.statistics.binomial_tails import log_hypergeometric_tail

if TYPE_CHECKING:
    from collections.abc import Iterable

SCRIPTS = {
    "Japanese": r"[\p{Hiragana}\p{Katakana}]",
    "Korean": r"\p{Hangul}",
    "Chinese": r"\p{Han}",
    "Cyrillic script": r"\p{Cyrillic}",
    "Arabic script": r"\p{Arabic}",
    "Devanagari script": r"\p{Devanagari}",
    "Hebrew": r"\p{Hebrew}",
    "Greek": r"\p{Greek}",
    "Thai": r"\p{Thai}",
}
"""Languages detected by script; a script that several languages share has its own name."""

STOP_WORDS = {
    "English": ("the", "and", "of", "to"),
    "German": ("der", "die", "und", "nicht"),
    "French": ("les", "est", "une", "dans"),
    "Spanish": ("el", "los", "una", "por"),
    "Italian": ("il", "che", "della", "sono"),
    "Portuguese": ("os", "uma", "não", "para"),
    "Dutch": ("het", "een", "van", "niet"),
}
"""Languages of Latin script, detected by frequent words; two of them must be in the text."""

MAX_SAMPLED_CHARS = 160

MIN_STOP_WORDS = 2
_BEYOND_LATIN = r"[^\x00-\x{24f}\p{P}\p{S}\p{M}]"

MAX_TERMS = 8
MAX_TERM_WORDS = 3
MIN_TEXTS = 5
_MAX_CHARS = 2_000
_SIMILARITY_THRESHOLD = 0.2
_BUDGET_CHARS = 1_500_000
_ENDS = ".,;:!?)\"'\u2026\u2019\u201d\u060c\u061f\u3001\u3002\uff0c\uff01\uff1f\n\r\t"
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]{2,}")


def language_sql(source: str) -> str:
    """Return SQL for the `language` of a table's calls, from its `words` (`words_sql`); NULL if it is not detected."""
    scripts = " ".join(f"WHEN regexp_matches(head, '{pattern}') THEN '{name}'" for name, pattern in SCRIPTS.items())
    counts = [
        " + ".join(f"contains(head, ' {word} ')::TINYINT" for word in words) + f" AS words_{number}"
        for number, words in enumerate(STOP_WORDS.values())
    ]
    columns = [f"words_{number}" for number in range(len(STOP_WORDS))]
    # with a tie the language is unknown: neighbours share words
    alone = " + ".join(f"({column} = most)::TINYINT" for column in columns)
    latin = " ".join(f"WHEN {column} = most THEN '{name}'" for column, name in zip(columns, STOP_WORDS, strict=True))
    # if bytes equal characters the text is ASCII, so there is no other script
    other = f"strlen(head) > length(head) AND regexp_matches(head, '{_BEYOND_LATIN}')"
    heads = f"SELECT *, left(words, {MAX_SAMPLED_CHARS}) || ' ' AS head FROM {source}"  # noqa: S608 - a number
    return f"""
        SELECT call, CASE WHEN {other} THEN CASE {scripts} END
            WHEN most < {MIN_STOP_WORDS} OR {alone} > 1 THEN NULL ELSE CASE {latin} END END AS language
        FROM (SELECT *, greatest({", ".join(columns)}) AS most FROM (SELECT *, {", ".join(counts)} FROM ({heads})))
    """  # noqa: S608 - patterns and words of ours


def distinctive_terms(bad: Iterable[str], good: Iterable[str]) -> tuple[list[str], int]:
    """Return words and phrases that are in bad requests more often than in good ones, and the number of tested terms.

    The most significant of at most `MAX_TERMS` is first; phrases have up to three words.
    """
    bad_counts, bad_total = _counted(bad)
    good_counts, good_total = _counted(good)
    if not bad_total or not good_total:
        return [], 0
    tested_count = sum(count >= MIN_TEXTS for count in bad_counts.values())
    ranked: list[tuple[float, str]] = []
    for term, count in bad_counts.items():
        both = count + good_counts[term]
        if count < MIN_TEXTS or count * (bad_total + good_total) <= 1.2 * both * bad_total:
            continue
        log_p = log_hypergeometric_tail(count, bad_total, both, bad_total + good_total)
        # otherwise it is distinctive by chance, and would cost a pass over every text
        if log_p + math.log(tested_count) < 0:
            ranked.append((log_p, term))
    ranked.sort(key=lambda one: (one[0], -len(one[1]), one[1]))
    return _distinct([term for _, term in ranked], bad_counts), tested_count


def words_sql(text: str) -> str:
    """Return SQL for a normalised text: lower case, a space before each word."""
    return f"' ' || replace(lower({text}), chr(10), ' ')"


def term_sql(term: str) -> str:
    """Return SQL that checks whether a term is in `words`: at the start of a word, unless its script has no spaces."""
    return f"contains(words, {literal(term if _UNSPACED.fullmatch(term) else f' {term}')})"


def _counted(texts: Iterable[str]) -> tuple[Counter[str], int]:
    """Count texts by term, within a budget of characters."""
    counts: Counter[str] = Counter()
    total = read_chars = 0
    for text in texts:
        if read_chars > _BUDGET_CHARS:
            break
        part = text[:_MAX_CHARS]
        read_chars += len(part)
        total += 1
        counts.update(_terms(part))
    return counts, total


def _terms(text: str) -> set[str]:
    words = [word for word in text.split(" ") if word]
    found = {word.rstrip(_ENDS) for word in words}
    for length in range(2, MAX_TERM_WORDS + 1):
        found.update(" ".join(words[begin : begin + length]).rstrip(_ENDS) for begin in range(len(words) - length + 1))
    for run in _UNSPACED.findall(text):
        found.update(run[begin : begin + 2] for begin in range(len(run) - 1))
    found.discard("")
    return found


def _distinct(ranked: list[str], counts: Counter[str]) -> list[str]:
    """Drop terms that contain, or are in, a more significant one of nearly as many texts."""
    kept: list[str] = []
    for term in ranked:
        padded = f" {term} "
        alike = (other for other in kept if abs(counts[term] - counts[other]) <= _SIMILARITY_THRESHOLD * counts[other])
        if any(padded in f" {other} " or f" {other} " in padded for other in alike):
            continue
        kept.append(term)
        if len(kept) == MAX_TERMS:
            break
    return kept
