"""Builds the HTML page of a report: no external resource, no script but the page's own, for light and dark schemes.

Every text that is not `Markup` is hostile and escaped.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
# HTML Standard, "Preprocessing the input stream": control characters and surrogates are not allowed in a document; and
# characters that reverse the direction of text
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_ESCAPED_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Characters that JSON may contain as they are, but that turn text around in an editor or are no text at all."""
_JSON_ESCAPES = {
    number: f"\\u{number:04x}"
    for number in (*range(0x7F, 0x2070), 0xFEFF, *range(0xD800, 0xE000))
    if _ESCAPED_IN_JSON.match(chr(number))
}
_INLINE = frozenset({"code", "span", "a"})
"""Inline elements; all others end with a line feed."""

# Pairs of colours with a contrast of at least 4.5 in both schemes; a sign or a word tells the same each time.
_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1c1f23; --quiet: #59616b; --line: #d8dce1; --card: #f5f6f8;
  --good: #1a6b37; --bad: #b3261e; --warn: #8a5200;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --ink: #e6e8eb; --quiet: #a0a8b2; --line: #363b42; --card: #1f2226;
    --good: #6cc98a; --bad: #ff8d85; --warn: #f0b35e;
  }
}
body {
  margin: 2rem auto; padding: 0 1.25rem; max-width: 72rem;
  background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
}
h1 { margin: 0 0 .75rem; font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { margin: 2.25rem 0 .75rem; font-size: 1.15rem; }
h3 { margin: 1.25rem 0 .25rem; font-size: 1rem; overflow-wrap: anywhere; }
p, ul { margin: .5rem 0; }
code, pre { font: .87em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; unicode-bidi: isolate; }
pre {
  margin: .6rem 0 0; padding: .6rem .8rem; border-radius: .3rem; max-height: 26rem; overflow: auto;
  background: var(--card); white-space: pre-wrap;
}
.verdict { padding: .6rem 1rem; border: 1px solid; border-left-width: .5rem; border-radius: .3rem; font-weight: 650; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .quiet { color: var(--quiet); }
.warning { padding-left: .8rem; border-left: .25rem solid var(--warn); }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--quiet); font-weight: 500; font-size: .85rem; }
th:last-child, td:last-child { padding-right: 0; }
.number { text-align: right; white-space: nowrap; }
svg { width: 100%; height: auto; margin: .5rem 0; }
"""


def page(title: str, body: Iterable[Markup], *, style: str = "", script: str = "", data: str = "") -> str:
    """Build a page with a title of any text.

    Args:
        title: shown by the browser's tab.
        body: elements of the page.
        style: CSS after that of every page.
        script: JavaScript of ours, run at the end of the page; the policy allows this one text and no other.
        data: JSON for the script, of any content, in the element `data`.
    """
    styles = _STYLE + style
    policy = _CONTENT_SECURITY_POLICY
    if script:
        policy = f"default-src 'none'; style-src '{_hash(styles)}'; script-src '{_hash(script)}'; "
        policy += "base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        Markup('<meta charset="utf-8">\n'),
        trusted(f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">\n'),
        tag("title", title),
        tag("style", trusted(styles)),
    )
    scripts = [tag("script", trusted(escape_json(data)), id="data", type="application/json")] if data else []
    scripts += [tag("script", trusted(script))] if script else []
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}{tag("body", tag("main", *body), *scripts)}</html>\n'


def tag(name: str, *content: str, kind: str = "", **attributes: str) -> Markup:
    """Build an element of class `kind`; content that is not Markup is escaped."""
    named = {**({"class": kind} if kind else {}), **attributes}
    start = "".join(f' {key}="{_escape(value)}"' for key, value in named.items())
    end = "" if name in _INLINE else "\n"
    return trusted(f"<{name}{start}>{joined(content)}</{name}>{end}")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Collection[str] = ()) -> Markup:
    """Build a table that scrolls if it is too wide, its `numeric` columns aligned right; empty without rows."""
    if not rows:
        return Markup()
    kinds = ["number" if column in numeric else "" for column in columns]

    def line(name: str, cells: Sequence[str]) -> Markup:
        return tag("tr", *(tag(name, cell, kind=kind) for cell, kind in zip(cells, kinds, strict=True)))

    lines = tag("thead", line("th", columns)), tag("tbody", *(line("td", row) for row in rows))
    return tag("div", tag("table", *lines), kind="wide")


def section(title: str, content: Markup) -> Markup:
    """Build a section with a heading; empty if its content is empty."""
    return tag("section", tag("h2", title), content) if content else Markup()


def listing(lines: Iterable[str]) -> Markup:
    """Build a list."""
    return tag("ul", *(tag("li", line) for line in lines))


def joined(parts: Iterable[str]) -> Markup:
    """Join parts; those that are not Markup are escaped."""
    return trusted("".join(map(_escape, parts)))


def trusted(html: str) -> Markup:
    """Mark HTML that flowai built, such as a plot, as safe; it must not contain unescaped foreign text."""
    return Markup(html)  # noqa: S704 - the only place where text becomes HTML


def escape_json(document: str) -> str:
    """Return JSON that no element's content can end: `<` occurs in strings only, where JSON has another spelling."""
    escaped = document.replace("<", "\\u003c")
    return escaped.translate(_JSON_ESCAPES) if _ESCAPED_IN_JSON.search(escaped) else escaped


def _hash(text: str) -> str:
    """Return the hash of an inline element's text as a policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _escape(text: str) -> Markup:
    return text if isinstance(text, Markup) else escape(_FORBIDDEN.sub("\ufffd", text))
