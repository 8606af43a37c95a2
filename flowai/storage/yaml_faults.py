"""Faults of YAML in our words: the parser's speak of its own state, not of the file."""

from __future__ import annotations

from typing import NamedTuple


class YamlFault(NamedTuple):
    """A fault and what helps."""

    what: str
    """Empty to keep the parser's words."""
    hint: str


_INDENT = "indent the keys of one map by the same number of spaces; double a quote within quotes: 'it''s'"
_QUOTE = "put texts with `: `, ` #`, or one of @ ` % & * { [ at the beginning in quotes"
_FAULTS: tuple[tuple[str, YamlFault], ...] = (
    ("tab character", YamlFault("a tab is in the indentation", "indent with spaces")),
    (
        "mapping values are not allowed",
        YamlFault("a second `:` is in the line, or the line is indented too far", _QUOTE),
    ),
    (
        "could not find expected ':'",
        YamlFault("a line has no `:` after its key", "write `key: value`; a longer text is indented below `key: |`"),
    ),
    (
        "expected ',' or ']'",
        YamlFault("a list that begins with `[` is never closed", "close it with `]`, and separate values by commas"),
    ),
    (
        "expected ',' or '}'",
        YamlFault("a map that begins with `{` is never closed", "close it with `}`, and separate keys by commas"),
    ),
    (
        "found undefined alias",
        YamlFault("`*` begins an alias that is defined nowhere", "put a text that begins with `*` in quotes"),
    ),
    (
        "expected alphabetic or numeric character",
        YamlFault("`*` or `&` has no name after it", "put a text that begins with `*` or `&` in quotes"),
    ),
    ("expected key", YamlFault("a key is indented otherwise than the keys before it", _INDENT)),
    ("expected <block end>", YamlFault("a line is indented otherwise than the lines before it", _INDENT)),
    (
        "expected '-' indicator",
        YamlFault(
            "an item of a list is indented otherwise than the items before it",
            "begin each item with `- ` in one column",
        ),
    ),
    (
        "sequence entries are not allowed",
        YamlFault("`- ` is where no list can begin", "begin the list in a line of its own"),
    ),
    ("unexpected end of stream", YamlFault("a quote is never closed", "close it, or write the text below `key: |`")),
    (
        "unexpected document indicator",
        YamlFault("a quote is never closed", "close it, or write the text below `key: |`"),
    ),
    (
        "unknown escape character",
        YamlFault("a `\\` in double quotes begins no known escape", "write `\\\\`, or use single quotes"),
    ),
    (
        "expected hexdecimal number",
        YamlFault("a `\\x` or `\\u` in double quotes has no number after it", "write `\\\\`, or use single quotes"),
    ),
    ("cannot start any token", YamlFault("a value begins with a sign that YAML keeps for itself", _QUOTE)),
    (
        "unhashable key",
        YamlFault("unhashable key: `{{`, `{` or `[` begins a key", 'put text with braces in quotes: `"{{name}}"`'),
    ),
    ("expected <document start>", YamlFault("text follows the end of the document", "indent it, or put it in quotes")),
    ("expected a single document", YamlFault("there is a second document after `---`", "keep one document in a file")),
    (
        "comment or line break",
        YamlFault("text follows `|` or `>` in one line", "begin the text in the next line, indented"),
    ),
    (
        "unknown directive",
        YamlFault("`%` begins a directive that does not exist", "put a text that begins with `%` in quotes"),
    ),
    (
        "undefined tag handle",
        YamlFault("`!` begins a tag that does not exist", "put a text that begins with `!` in quotes"),
    ),
    (
        "could not determine a constructor",
        YamlFault("", "put a text that begins with `!` in quotes"),
    ),
    ("characters are not allowed", YamlFault("control characters are not allowed", "remove it")),
    ("invalid continuation", YamlFault("the file is not UTF-8", "save it as UTF-8")),
)
_OTHER_HINT = "look at the quotes, brackets and indentation of this line and the one before"


def explain_yaml(problem: str, line: str = "") -> YamlFault:
    """Return a parser's message about a line in our words; an unknown one unchanged, with a general hint."""
    if "cannot start any token" in problem and "\t" in line[: len(line) - len(line.lstrip())]:
        problem = "tab character"
    known = next((fault for part, fault in _FAULTS if part in problem), None)
    if known is None:
        return YamlFault(problem, _OTHER_HINT)
    return known if known.what else YamlFault(problem, known.hint)
