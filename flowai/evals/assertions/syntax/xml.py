"""Checks of answers that are or contain XML.

The parser is Python's expat. A document type with declarations of its own is refused before any entity is expanded, and
nothing is fetched, so that no answer can grow ("XML bombs").

Source of the meaning: promptfoo, "Deterministic metrics", sections `is-xml` and `contains-xml`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from flowai.evals.assertions.javascript_text import to_text
from flowai.evals.assertions.records import CheckResult, printable, quoted, suite_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.suites.records import Assertion

MAX_XML_CHARS = 10_000_000
"""Longest answer that is parsed as a whole."""
MAX_SEARCHED_CHARS = 1_000_000
"""Longest answer in which elements are searched."""
MAX_DEPTH = 10_000

_NAME = (
    r"[A-Za-z_:\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d\u2070-\u218f\u2c00-\u2fef"
    r"\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff]"
)
_NAME_REST = rf"(?:{_NAME}|[\-.0-9\u00b7\u0300-\u036f\u203f\u2040])*"
_TAG_REST = r"(?:[^<>\"']|\"[^\"]*\"|'[^']*')*+"
_TOKEN = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>"
    rf"|<(?P<close>/)?(?P<name>{_NAME}{_NAME_REST})(?P<rest>{_TAG_REST})>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"([^\s=/]+)(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'))?")
_INDEX = re.compile("0|[1-9][0-9]*")


@dataclass(slots=True)
class _Element:
    """An element with the parts that a path can name: attributes (`@_id`), `#text` and child elements."""

    name: str
    parts: dict[str, list[_Element | None]] = field(default_factory=dict)

    def add(self, name: str, part: _Element | None) -> None:
        self.parts.setdefault(name, []).append(part)


def valid_xml(assertion: Assertion) -> CheckFunction:
    """Pass if the answer is well-formed XML as a whole and has the elements that `value` names."""
    paths = _required_paths(assertion)

    def check(answer: Answer) -> CheckResult:
        if len(answer.text) > MAX_XML_CHARS:
            return CheckResult(None, f": the answer is longer than {MAX_XML_CHARS:,} characters")
        try:
            root = _parse(answer.text)
        except _NotXmlError as error:
            return CheckResult(passed=False, detail=f": {error}")
        missing = _missing(root, paths)
        return CheckResult(not missing, f": lacks {_listed(missing)}" if missing else ": the answer is XML")

    return check


def contains_xml(assertion: Assertion) -> CheckFunction:
    """Pass if the answer contains an element, closed in order, that has the elements that `value` names."""
    paths = _required_paths(assertion)

    def check(answer: Answer) -> CheckResult:
        if len(answer.text) > MAX_SEARCHED_CHARS:
            return CheckResult(None, f": the answer is longer than {MAX_SEARCHED_CHARS:,} characters")
        missing: list[str] | None = None
        for candidate in _iterate_elements(answer.text):
            missing = _missing(candidate, paths)
            if not missing:
                return CheckResult(passed=True, detail=": found XML")
        return CheckResult(passed=False, detail=f": lacks {_listed(missing)}" if missing else ": no XML in the answer")

    return check


def _required_paths(assertion: Assertion) -> list[str]:
    value: Any = assertion.value
    if value is None or value in ([], {}):
        return []
    if isinstance(value, str):
        return [path.strip() for path in value.split(",")]
    if isinstance(value, dict) and isinstance(value.get("requiredElements"), list):
        value = value["requiredElements"]
    if isinstance(value, list):
        return [to_text(path) for path in value]
    raise suite_error(
        assertion, f"found {quoted(value)}; expected paths of elements", hint="such as `note.to,note.body`"
    )


def _listed(paths: list[str] | None) -> str:
    return ", ".join(quoted(path) for path in (paths or [])[:3])


class _NotXmlError(ValueError):
    """Raised if a text is not XML; the message is one line."""


def _parse(text: str) -> _Element:
    """Return an element that holds the root element of a document."""
    document = _Document()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.namespace_prefixes = True
    parser.StartElementHandler = document.start
    parser.EndElementHandler = document.end
    parser.CharacterDataHandler = document.add_text
    parser.StartDoctypeDeclHandler = _refuse_declarations
    try:
        parser.Parse(text.encode(), True)  # noqa: FBT003 - expat's own signature
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise _NotXmlError(f"{reason} at line {error.lineno} column {error.offset + 1}") from None
    except UnicodeEncodeError:
        raise _NotXmlError("an unpaired surrogate is no character of XML") from None
    return document.element


def _refuse_declarations(_: str, __: str | None, ___: str | None, has_declarations: bool) -> None:  # noqa: FBT001 - expat's own signature
    if has_declarations:
        raise _NotXmlError("its document type has declarations of its own")


class _Document:
    """Receives the parts of a document from expat."""

    def __init__(self) -> None:
        self.element = _Element("")
        self._open = [self.element]

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > MAX_DEPTH:
            raise _NotXmlError("nested too deeply")
        element = _Element(_written_name(name))
        for attribute in attributes:
            element.add(f"@_{_written_name(attribute)}", None)
        self._open[-1].add(element.name, element)
        self._open.append(element)

    def end(self, _: str) -> None:
        self._open.pop()

    def add_text(self, text: str) -> None:
        if text.strip():
            self._open[-1].parts.setdefault("#text", [None])


def _written_name(name: str) -> str:
    """Return a name with its prefix; expat writes `URI NAME PREFIX`."""
    parts = name.split(" ")
    return f"{parts[2]}:{parts[1]}" if len(parts) == 3 else parts[-1]  # noqa: PLR2004 - the three parts


def _missing(root: _Element, paths: list[str]) -> list[str]:
    return [printable(path) for path in paths if not _has_path(root, path.split("."))]


def _has_path(root: _Element, keys: list[str]) -> bool:
    """Follow a path; where several elements have one name, the next key is an index."""
    current: list[_Element | None] = [root]
    for key in keys:
        if len(current) > 1:
            if not _INDEX.fullmatch(key) or int(key) >= len(current):
                return False
            current = [current[int(key)]]
            continue
        element = current[0]
        if element is None or not _is_mapping(element) or key not in element.parts:
            return False
        current = element.parts[key]
    return True


def _is_mapping(element: _Element) -> bool:
    """Return whether the element has more than text: an element with only text is a value."""
    return element.parts.keys() != {"#text"}


def _iterate_elements(text: str) -> Iterator[_Element]:
    """Yield the outermost elements that are closed in order, after all of them together."""
    outermost = list(_closed_elements(text))
    if len(outermost) > 1:
        together = _Element("")
        for holder in outermost:
            for name, elements in holder.parts.items():
                for element in elements:
                    together.add(name, element)
        yield together
    yield from outermost


def _closed_elements(text: str) -> list[_Element]:
    """Return each element that no other closed element contains, in an element that holds it."""
    closed: list[tuple[int, _Element]] = []
    open_elements: list[tuple[int, _Element]] = []
    position = 0
    text = _without_open_end(text)
    for match in _TOKEN.finditer(text):
        if open_elements and text[position : match.start()].strip():
            open_elements[-1][1].parts.setdefault("#text", [None])
        position = match.end()
        if match["name"] is None:
            continue
        if match["close"]:
            _close(match["name"], open_elements, closed)
        else:
            _open(match, open_elements, closed)
    return [_holder(element) for _, element in closed]


def _without_open_end(text: str) -> str:
    """Cut the text where a comment, a CDATA section or an instruction begins that never ends."""
    for opening, closing in (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")):
        start = text.find(opening, text.rfind(closing) + 1)
        if start >= 0:
            text = text[:start]
    return text


def _open(match: re.Match[str], open_elements: list[tuple[int, _Element]], closed: list[tuple[int, _Element]]) -> None:
    element = _Element(match["name"])
    for attribute in _ATTRIBUTE.finditer(match["rest"]):
        element.add(f"@_{attribute[1]}", None)
    open_elements.append((match.start(), element))
    if match["rest"].rstrip().endswith("/"):
        _close(match["name"], open_elements, closed)


def _close(name: str, open_elements: list[tuple[int, _Element]], closed: list[tuple[int, _Element]]) -> None:
    if not open_elements or open_elements[-1][1].name != name:
        open_elements.clear()
        return
    start, element = open_elements.pop()
    while closed and closed[-1][0] > start:
        closed.pop()
    closed.append((start, element))
    if open_elements:
        open_elements[-1][1].add(name, element)


def _holder(element: _Element) -> _Element:
    holder = _Element("")
    holder.add(element.name, element)
    return holder
