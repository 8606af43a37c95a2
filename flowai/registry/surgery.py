"""Replaces the value of one top-level key in YAML text, adds or takes out one entry, and leaves every other byte alone.

In: YAML text, a key, a value. Out: YAML text. Must never know which keys those are, nor files.

A YAML library that round-trips comments still re-wraps lists, quotes and indents; cutting at the marks of the parser's
events cannot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from flowai.errors import Place, RegistryError
from flowai.files import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from yaml.error import Mark
    from yaml.events import Event


QUOTE = '"'


@dataclass(frozen=True, kw_only=True, slots=True)
class _Value:
    """Where the value of a top-level key stands.

    Args:
        start: index of its first character.
        end: index after its last character, comments left out.
        column: column of its first character.
        key_column: column of its key.
        quote: `'` or `"` of a quoted scalar; empty otherwise.
        items_end: index after its last item; 0 where it has none.
        items: its items, if it is a list of plain names; None for anything else.
        is_block: whether it is a list or map in block style.
    """

    start: int
    end: int
    column: int
    key_column: int
    quote: str
    items_end: int
    items: tuple[str, ...] | None
    is_block: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Top:
    """The outermost map of a document.

    Args:
        values: by key.
        column: column of its keys.
        end: index where a new key can be added.
    """

    values: dict[str, _Value]
    column: int
    end: int


def with_value(text: str, key: str, value: object, *, name: str) -> str:
    """Give the text with another value for one top-level key, or with the key added at the end.

    Args:
        text: a YAML document whose outermost value is a map.
        key: the key.
        value: None, a name (no quotes or backslashes in it), a list of names, or a map to names, int and datetime.
        name: how messages call the text.

    Returns:
        The text; all of it outside the value is unchanged. A comment behind the value stays.

    Raises:
        RegistryError: the text is not valid YAML, or its outermost map is written in braces.
    """
    top = _scan(text, name)
    old = top.values.get(key)
    if old is None:
        return _added(text, top, f"{key}: {_render(value)}")
    if old.items and isinstance(value, list) and tuple(value[: len(old.items)]) == old.items:
        return _extended(text, old, value[len(old.items) :])
    rendered = _render(value, old.quote)
    if old.start > 0 and text[old.start - 1] == ":":  # `current:` with nothing behind it
        rendered = f" {rendered}"
    elif old.column <= old.key_column:  # a list may begin under its key; what replaces it may not
        rendered = f"  {rendered}"
    return text[: old.start] + rendered + text[old.end :]


def _added(text: str, top: _Top, line: str) -> str:
    ending = _line_ending(text)
    before, after = text[: top.end], text[top.end :]
    gap = "" if before.endswith(("\n", "\r")) or not before else ending
    return f"{before}{gap}{' ' * top.column}{line}{ending}{after}"


def _extended(text: str, old: _Value, more: Sequence[str]) -> str:
    """Add items at the end of a list, in the list's own style."""
    rendered = [_render(item) for item in more]
    if not old.is_block:
        return text[: old.items_end] + "".join(f", {item}" for item in rendered) + text[old.items_end :]
    ending = _line_ending(text)
    stop = text.find("\n", old.items_end)
    at = len(text) if stop < 0 else stop + 1
    gap = ending if stop < 0 else ""
    lines = "".join(f"{' ' * old.column}- {item}{ending}" for item in rendered)
    return text[:at] + gap + lines + text[at:]


def _line_ending(text: str) -> str:
    first = text.find("\n")
    return "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"


def _render(value: object, quote: str = "") -> str:
    """Write a value in one line."""
    if isinstance(value, list):
        return f"[{', '.join(_render(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_render(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        # names such as `1.0` or `no` are text only in quotes
        is_plain = not quote and parse_yaml(value, name="a name").value == value
        return value if is_plain else f"{quote or QUOTE}{value}{quote or QUOTE}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return "null" if value is None else str(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """Where an entry of a map stands: index and column of its key's first character, index after its value."""

    name: str
    start: int
    column: int
    end: int


def with_entry(text: str, key: str, entry: str, value: Mapping[str, object], *, name: str) -> str:
    """Give the text with one more entry at the end of the map of a top-level key, in the map's own style.

    Args:
        text: a YAML document whose outermost value is a map.
        key: the key; its map has an entry already.
        entry: name of the new one.
        value: what it says.
        name: how messages call the text.

    Returns:
        The text; all that was in it is unchanged.

    Raises:
        RegistryError: the text is not valid YAML, or the key has no map with an entry.
    """
    is_flow, _, entries = _entries(text, key, name)
    last = entries[-1]
    if is_flow:
        return f"{text[: last.end]}, {_flow({entry: value})[1:-1]}{text[last.end :]}"
    ending, at = _line_ending(text), _line_end(text, last.end)
    gap = "" if text[:at].endswith("\n") else ending
    indent = " " * last.column
    lines = [f"{indent}{_render(entry)}:", *(f"{indent}  {_flow({one: item})[1:-1]}" for one, item in value.items())]
    return text[:at] + gap + "".join(f"{line}{ending}" for line in lines) + text[at:]


def without_entry(text: str, key: str, entry: str, *, name: str) -> str:
    """Give the text without one entry of the map of a top-level key; of the last one `{}` is left.

    Args:
        text: a YAML document whose outermost value is a map.
        key: the key.
        entry: which one; comments inside it go with it.
        name: how messages call the text.

    Returns:
        The text; all else in it is unchanged.

    Raises:
        RegistryError: the text is not valid YAML, or there is no such entry.
    """
    is_flow, key_end, entries = _entries(text, key, name)
    place = next((index for index, one in enumerate(entries) if one.name == entry), None)
    if place is None:
        raise RegistryError(f"no `{entry}`", place=Place(file=name, key=key))
    one = entries[place]
    if not is_flow:
        begin = text.rfind("\n", 0, one.start) + 1
        rest = text[:begin] + text[_line_end(text, one.end) :]
        colon = text.index(":", key_end) + 1
        return rest if len(entries) > 1 else f"{rest[:colon]} {{}}{rest[colon:]}"
    if place + 1 < len(entries):
        return text[: one.start] + text[entries[place + 1].start :]
    return text[: entries[place - 1].end if place else one.start] + text[one.end :]


def _entries(text: str, key: str, name: str) -> tuple[bool, int, list[_Entry]]:
    """Find the entries of a top-level map: whether it is written in braces, where its key ends, each of them."""
    import yaml  # as in _scan

    _scan(text, name)  # its errors have places
    events = iter(list(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))
    next(event for event in events if isinstance(event, yaml.MappingStartEvent))
    while not isinstance(head := next(events), yaml.MappingEndEvent):
        for _ in _whole(head, events):
            pass
        node = list(_whole(next(events), events))
        if getattr(head, "value", None) == key and isinstance(node[0], yaml.MappingStartEvent):
            inner = iter(node[1:-1])
            pairs = [(list(_whole(first, inner)), list(_whole(next(inner), inner))) for first in inner]
            found = [
                _Entry(
                    name=str(getattr(one[0], "value", "")),
                    start=_begin(one[0]).index,
                    column=_begin(one[0]).column,
                    end=_locate(one[0], value).end,
                )
                for one, value in pairs
            ]
            if found:
                return bool(node[0].flow_style), _finish(head).index, found
    raise RegistryError("found no entries, expected a map of names", place=Place(file=name, key=key))


def _line_end(text: str, at: int) -> int:
    """Give the index after the line on which something ends; what takes whole lines ends at the next one's begin."""
    if text[at - 1] == "\n":
        return at
    stop = text.find("\n", at)
    return len(text) if stop < 0 else stop + 1


def _flow(value: Mapping[str, object]) -> str:
    """Write a map in one line, in braces."""
    import yaml  # as in _scan

    def write(*, allow_unicode: bool) -> str:
        form = yaml.safe_dump(
            value, default_flow_style=True, width=math.inf, allow_unicode=allow_unicode, sort_keys=False
        )
        return str(form).strip()

    readable = write(allow_unicode=True)
    # YAML takes U+0085, U+2028 and U+2029 for line breaks, and PyYAML does not escape them
    return readable if len(readable.splitlines()) == 1 else write(allow_unicode=False)


def _scan(text: str, name: str) -> _Top:
    """Find the values of the outermost map."""
    import yaml  # only commands that change the registry come here

    parse_yaml(text, name=name, kind=RegistryError)  # its errors have places
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    events = iter(list(yaml.parse(text, Loader=loader)))
    start = next(event for event in events if isinstance(event, yaml.MappingStartEvent))
    if start.flow_style:
        raise RegistryError(
            "the whole file is written in braces; flowai cannot add its keys there",
            place=Place(file=name, line=_begin(start).line + 1),
            hint="write one `key: value` per line",
        )
    values: dict[str, _Value] = {}
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        for _ in _whole(key, events):  # a key may be a collection too; then it is none of ours
            pass
        value = list(_whole(next(events), events))
        values[str(getattr(key, "value", ""))] = _locate(key, value)
    ends = next(event for event in events if isinstance(event, yaml.DocumentEndEvent))
    end = _begin(ends).index if ends.explicit else len(text)
    return _Top(values=values, column=_begin(start).column, end=end)


def _whole(first: Event, events: Iterator[Event]) -> Iterator[Event]:
    """Give the events of one node, collections with all that is in them."""
    import yaml  # as in _scan

    depth = 0
    event = first
    while True:
        yield event
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth == 0:
            return
        event = next(events)


def _locate(key: Event, node: list[Event]) -> _Value:
    import yaml  # as in _scan

    first = node[0]
    is_block = isinstance(first, yaml.CollectionStartEvent) and not first.flow_style
    # a block collection ends without width where the next token begins, past comments: its last content ends it
    last = next(
        event
        for event in reversed(node)
        if not isinstance(event, yaml.CollectionEndEvent) or _begin(event).index < _finish(event).index
    )
    inner = node[1:-1]
    items = None
    if isinstance(first, yaml.SequenceStartEvent) and all(isinstance(event, yaml.ScalarEvent) for event in inner):
        items = tuple(event.value for event in inner if isinstance(event, yaml.ScalarEvent))
    return _Value(
        start=_begin(first).index,
        end=_finish(last).index,
        items_end=_finish(inner[-1]).index if items else 0,
        column=_begin(first).column,
        key_column=_begin(key).column,
        quote=(first.style or "") if isinstance(first, yaml.ScalarEvent) and first.style in ("'", '"') else "",
        items=items,
        is_block=is_block,
    )


def _begin(event: Event) -> Mark:
    return cast("Mark", event.start_mark)  # the parser sets it on every event


def _finish(event: Event) -> Mark:
    return cast("Mark", event.end_mark)  # as above
