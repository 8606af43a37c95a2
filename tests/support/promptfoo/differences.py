"""Where flowai's verdicts differ from promptfoo's, and why; the reference repeats each text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.promptfoo.differential import Case, Verdict


class Difference(NamedTuple):
    """A difference: its text in the reference, and the comparisons that it explains."""

    text: str
    types: frozenset[str]
    """Without `not-`."""
    explains: Callable[[Case, Verdict, Verdict], bool]
    """Called with promptfoo's verdict and flowai's."""


def _types(names: str) -> frozenset[str]:
    return frozenset(names.split())


def _value(case: Case) -> Any:
    return case.assertion.get("value")


def _text(case: Case) -> str:
    output = case.answer["output"]
    return output if isinstance(output, str) else ""


def _is_negated(case: Case) -> bool:
    return bool(case.assertion["type"].startswith("not-"))


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "`icontains` and its kin fold case by Unicode's rules: `STRASSE` is in `Straße`. Promptfoo lowers both sides.",
        _types("icontains icontains-all icontains-any"),
        lambda case, _, __: _text(case).casefold() != _text(case).lower() or "ß" in str(_value(case)),
    ),
    Difference(
        "Characters are code points, in `regex`, `levenshtein` and lengths. Promptfoo's `regex` and `levenshtein`"
        " count an"
        " emoji as two.",
        _types("regex levenshtein"),
        lambda case, _, __: any(ord(character) > 0xFFFF for character in _text(case)),
    ),
    Difference(
        r"In a `regex`, `\p{L}` is a property and `\u{61}` a character, as JavaScript's `u` flag means them."
        r" Promptfoo sets no"
        " flag and searches for the text `p{L}`.",
        _types("regex"),
        lambda case, _, __: r"\p{" in _value(case) or r"\u{" in _value(case),
    ),
    Difference(
        "A `regex` may begin with flags (`(?i)`, `(?s)`, `(?m)`, `(?x)`). In promptfoo such a pattern is wrong.",
        _types("regex"),
        lambda case, _, __: _value(case).startswith("(?i)"),
    ),
    Difference(
        "A wrong `regex` is an error before any call. In promptfoo every answer fails it, also with `not-`.",
        _types("regex"),
        lambda _, __, flowai: flowai.passed is None and "has a wrong pattern" in flowai.reason,
    ),
    Difference(
        "`contains-json` also finds lists, and only JSON that a JSON parser reads: no trailing commas, single"
        " quotes or missing"
        " braces. Promptfoo looks for braces and reads what is between them as YAML.",
        _types("contains-json"),
        lambda case, _, __: "[" in _text(case) or ",}" in _text(case) or "'" in _text(case),
    ),
    Difference(
        "Numbers of JSON are read exactly, where promptfoo reads 64-bit floats: 400 digits are an integer, `1e999`"
        " is a number.",
        _types("is-json contains-json"),
        lambda case, _, __: "1e" in _text(case) or len(_text(case)) >= 400,
    ),
    Difference(
        "A JSON Schema may have keywords and formats that its dialect does not know, and `$schema` may name any"
        " draft. In promptfoo"
        " such a schema is an error (Ajv's strict mode; draft 7 only).",
        _types("is-json contains-json"),
        lambda _, promptfoo, __: promptfoo.passed is None,
    ),
    Difference(
        "SQL is read by sqlglot, with rules against its leniency; promptfoo's parser differs for some dialects:"
        " there `Par is` is"
        " Transact-SQL, and backticks are quotes of PostgreSQL.",
        _types("is-sql contains-sql"),
        lambda case, _, __: (_value(case) or {}).get("databaseType") in {"PostgreSQL", "TransactSQL", "Sqlite"},
    ),
    Difference(
        "SQL that is nested too deeply to be parsed is inconclusive.",
        _types("is-sql contains-sql"),
        lambda _, __, flowai: flowai.passed is None and "nested too deeply" in flowai.reason,
    ),
    Difference(
        "An empty answer is a refusal with score 1; promptfoo passes it with score 0.",
        _types("is-refusal"),
        lambda case, promptfoo, flowai: not _text(case).strip() and promptfoo.passed == flowai.passed,
    ),
    Difference(
        "An empty answer has the score 0 in `gleu` and `meteor`; in promptfoo it is an error.",
        _types("gleu meteor"),
        lambda case, promptfoo, __: not _text(case) and promptfoo.passed is None,
    ),
    Difference(
        "`meteor` matches equal words and equal stems, no synonyms: WordNet is no Python package. Scores are at"
        " most promptfoo's.",
        _types("meteor"),
        lambda _, promptfoo, flowai: None not in {promptfoo.score, flowai.score},
    ),
    Difference(
        "`finish-reason` is inconclusive if the provider gave no reason; promptfoo fails it.",
        _types("finish-reason"),
        lambda case, _, flowai: not case.answer.get("finishReason") and flowai.passed is None,
    ),
    Difference(
        "`not-x` is the exact opposite of `x` for every type, and its score is 1 less that of `x`. Promptfoo"
        " ignores the `not-` of"
        " `is-valid-openai-tools-call` and of `perplexity` without `threshold`, and keeps the score of `tool-call-f1`.",
        _types("is-valid-openai-tools-call perplexity perplexity-score tool-call-f1"),
        lambda case, _, __: _is_negated(case),
    ),
)
