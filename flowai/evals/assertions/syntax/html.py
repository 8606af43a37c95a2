"""Checks of answers that are or contain HTML.

Source of the meaning: promptfoo, "Deterministic metrics", sections `is-html` and `contains-html`; its elements are
those of the HTML standard. The only module that imports selectolax, an HTML5 parser.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from flowai.evals.assertions.javascript_text import trim
from flowai.evals.assertions.records import CheckResult
from flowai.evals.assertions.safe_regex import TIMEOUT_S, compile_pattern
from flowai.evals.assertions.syntax.libraries import import_library

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.suites.records import Assertion

MAX_HTML_CHARS = 1_000_000
"""Longest answer that is parsed: the parser cannot be interrupted."""
MAX_SCANNED_CHARS = 10_000_000
"""Longest answer in which HTML is searched."""

_ELEMENTS = frozenset({
    "a", "abbr", "address", "area", "article", "aside", "audio", "b", "base", "bdi", "bdo", "blockquote", "body",
    "br", "button", "canvas", "caption", "cite", "code", "col", "colgroup", "data", "datalist", "dd", "del",
    "details", "dfn", "dialog", "div", "dl", "dt", "em", "embed", "fieldset", "figcaption", "figure", "footer",
    "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html", "i", "iframe", "img", "input", "ins",
    "kbd", "label", "legend", "li", "link", "main", "map", "mark", "math", "menu", "meta", "meter", "nav", "noscript",
    "object", "ol", "optgroup", "option", "output", "p", "param", "picture", "pre", "progress", "q", "rp", "rt",
    "ruby", "s", "samp", "script", "section", "select", "slot", "small", "source", "span", "strong", "style", "sub",
    "summary", "sup", "svg", "table", "tbody", "td", "template", "textarea", "tfoot", "th", "thead", "time", "title",
    "tr", "track", "u", "ul", "var", "video", "wbr",
})  # fmt: skip
_WRAPPERS = ("html", "head", "body")
_MARK = "data-flowai-mark"
_XML_DECLARATION = re.compile(r"\s*<\?xml", re.IGNORECASE)
_LONG_TAG = re.compile(r"<[^<>]{20000}")

_OPENING = r"<[a-zA-Z][a-zA-Z0-9-]*(?:\s[^>]*)?>"
_CLOSING = r"</[a-zA-Z][a-zA-Z0-9-]*\s*>"
_WEAK_SIGNS = (
    r"<[a-zA-Z][a-zA-Z0-9-]*(?:\s[^>]*)?/>",
    "&(?:[a-zA-Z]+|#[0-9]+|#x[0-9a-fA-F]+);",
    r"\s[a-zA-Z-]+=\s*[\"'][^\"']*[\"']",
)
_STRONG_SIGNS = (
    r"(?i)<!DOCTYPE\s+html",
    (
        r"(?i)<(?:html|head|body|div|span|p|a|img|h[1-6]|ul|ol|li|table|tr|td|th|form|input|button|script|style|link"
        r"|meta|br|hr)\b"
    ),
)
_MIN_WEAK_SIGNS = 2


def valid_html(assertion: Assertion) -> CheckFunction:
    """Pass if the answer is HTML as a whole: no text outside of elements, at least one element of the standard."""
    parse = _parser(assertion)

    def check(answer: Answer) -> CheckResult:
        text = trim(answer.text)
        if len(text) > MAX_HTML_CHARS:
            return CheckResult(None, f": the answer is longer than {MAX_HTML_CHARS:,} characters")
        if _LONG_TAG.search(text):
            return CheckResult(None, ": a tag is longer than 20,000 characters")
        problem = _problem(text, parse)
        return CheckResult(problem is None, f": {problem or 'the answer is HTML'}")

    return check


def contains_html(_: Assertion) -> CheckFunction:
    """Pass if the answer shows enough signs of HTML: a known tag, a pair of tags, a doctype, or two weaker signs."""
    opens, closes = compile_pattern(_OPENING), compile_pattern(_CLOSING)
    weak = [opens, closes, _has_comment, *map(compile_pattern, _WEAK_SIGNS)]
    strong = [lambda text: opens(text) and closes(text), *map(compile_pattern, _STRONG_SIGNS)]

    def check(answer: Answer) -> CheckResult:
        text = answer.text
        if len(text) > MAX_SCANNED_CHARS:
            return CheckResult(None, f": the answer is longer than {MAX_SCANNED_CHARS:,} characters")
        try:
            passed = any(sign(text) for sign in strong) or sum(sign(text) for sign in weak) >= _MIN_WEAK_SIGNS
        except TimeoutError:
            return CheckResult(None, f": the search timed out after {TIMEOUT_S:g} s")
        return CheckResult(passed, ": found HTML" if passed else ": no HTML in the answer")

    return check


def _parser(assertion: Assertion) -> type[LexborHTMLParser]:
    parser: type[LexborHTMLParser] = import_library("selectolax.lexbor", assertion).LexborHTMLParser
    return parser


def _problem(text: str, parse: type[LexborHTMLParser]) -> str | None:
    if not text:
        return "the answer is empty"
    if _XML_DECLARATION.match(text):
        return "the answer is XML, not HTML"
    marks: dict[str, int] = {}
    tree = parse(_mark_wrappers(text, marks))
    body = tree.body
    if body is not None and not _is_written(body, text, marks, parse) and _has_own_text(body):
        return "text outside of HTML elements"
    nodes = () if tree.root is None else tree.root.traverse()
    if not any(_is_known(node, text, marks, parse) for node in nodes):
        return "no element of HTML"
    return None


def _mark_wrappers(text: str, marks: dict[str, int]) -> str:
    """Number the tags of `html`, `head` and `body`: the parser adds these elements where they are not written."""

    def mark(match: re.Match[str]) -> str:
        key = str(len(marks))
        marks[key] = match.start()
        return f"{match[0]} {_MARK}={key} "

    return _wrapper_pattern().sub(mark, text)


@cache
def _wrapper_pattern() -> re.Pattern[str]:
    return re.compile(rf"<(?:{'|'.join(_WRAPPERS)})(?=[\s>/])", re.IGNORECASE)


def _is_written(node: LexborNode, text: str, marks: dict[str, int], parse: type[LexborHTMLParser]) -> bool:
    """Return whether a tag of the text made the element; a tag after the element was added only adds attributes."""
    position = marks.get(node.attributes.get(_MARK) or "")
    if position is None:
        return False
    before = parse(text[:position])
    earlier = (before.body,) if node.tag == "body" else (before.head, before.body)
    return all(part is None or part.child is None for part in earlier)


def _has_own_text(body: LexborNode) -> bool:
    return any(node.tag == "-text" and trim(node.text(deep=False) or "") for node in body.iter(include_text=True))


def _is_known(node: LexborNode, text: str, marks: dict[str, int], parse: type[LexborHTMLParser]) -> bool:
    tag = node.tag or ""
    if tag in _WRAPPERS:
        return _is_written(node, text, marks, parse)
    return not tag.startswith(("-", "!")) and (tag in _ELEMENTS or "-" in tag)


def _has_comment(text: str) -> bool:
    start = text.find("<!--")
    return start >= 0 and text.find("-->", start + 4) >= 0
