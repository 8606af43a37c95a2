"""Replaces the value of a top-level key in YAML text, adds or removes an entry, and leaves all other bytes unchanged.

It edits at the marks of the parser's events: YAML libraries that keep comments change lists, quotes and indents.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from flowai.errors import Place, RegistryError
from flowai.storage.files import encoding_problem, parse_yaml
from flowai.timestamps import format_rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from yaml.error import Mark
    from yaml.events import Event


QUOTE = '"'
LINE_BREAKS = re.compile("[\n\x85\u2028\u2029]")
"""Line breaks of YAML 1.1."""
MAX_SIMPLE_KEY_CHARS = 1_000
"""YAML 1.1 limits a key to 1,024 characters, including quotes and escapes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Value:
    """Position of a top-level key's value."""

    start: int
    end: int
    """Index after its last character, without comments."""
    column: int
    key_column: int
    quote: str
    """`'` or `"` of a quoted scalar; empty otherwise."""
    items_end: int
    """Index after its last item; 0 without items."""
    items: tuple[str, ...] | None
    """Items of a list of scalars; None for other values."""
    is_block: bool
    """Whether it is a list or map in block style."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _TopLevelMap:
    values: dict[str, _Value]
    column: int
    """Column of the keys."""
    end: int
    """Index where a new key can be added."""


def replace_value(text: str, key: str, value: object, *, name: str) -> str:
    """Return a text with another value of a top-level key, or with the key added at the end; the rest is unchanged.

    Args:
        text: a YAML document with a map at the top level.
        key: the key.
        value: None, a text, a list of texts, or a map to texts, int and datetime.
        name: name of the text in errors.

    Raises:
        RegistryError: the text is not valid YAML, its top-level map is in braces, or YAML cannot contain the value.
    """
    _check_text(value, name, key)
    top = _scan(text, name)
    old = top.values.get(key)
    if old is None:
        return _added(text, top, f"{key}: {_render(value)}")
    if old.items and isinstance(value, list) and tuple(value[: len(old.items)]) == old.items:
        return _extended(text, old, value[len(old.items) :])
    rendered = _render(value, old.quote)
    if old.start > 0 and text[old.start - 1] == ":":  # `current:` without a value
        rendered = f" {rendered}"
    elif old.column <= old.key_column:  # a list may begin in its key's column, other values may not
        rendered = f"  {rendered}"
    return text[: old.start] + rendered + text[old.end :]


def _added(text: str, top: _TopLevelMap, line: str) -> str:
    ending = _line_ending(text)
    before, after = text[: top.end], text[top.end :]
    gap = "" if before.endswith(("\n", "\r")) or not before else ending
    return f"{before}{gap}{' ' * top.column}{line}{ending}{after}"


def _extended(text: str, old: _Value, more: Sequence[str]) -> str:
    """Append items to a list, in the list's style."""
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
    """Render a value in one line; texts in the given quotes, or without if YAML reads them back unchanged."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_render(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_render_key(key)}: {_render(item)}' for key, item in value.items())}}}"
    if isinstance(value, datetime):
        return format_rfc3339(value)
    import yaml  # as in _scan

    style = None
    if isinstance(value, str):
        # in single quotes YAML folds a line break; in double quotes it is an escape
        style = QUOTE if LINE_BREAKS.search(value) else quote or None
    listed = yaml.safe_dump(
        [value], default_style=style, default_flow_style=True, width=math.inf, allow_unicode=True
    )  # as an item of a list, so that it can be an item of any other
    return str(listed).removesuffix("\n")[1:-1]


def _render_key(key: object) -> str:
    """Render a key of a map in braces; a long one needs a `?`."""
    rendered = _render(key)
    return rendered if len(rendered) <= MAX_SIMPLE_KEY_CHARS else f"? {rendered}"


def _check_text(value: object, name: str, key: str) -> None:
    """Refuse a value with text that YAML cannot contain."""
    if isinstance(value, str):
        problem = encoding_problem(value)
        if problem is not None:
            raise RegistryError(problem, place=Place(file=name, key=key))
    elif isinstance(value, dict):
        for inner, item in value.items():
            _check_text(inner, name, key)
            _check_text(item, name, f"{key}.{inner}")
    elif isinstance(value, list | tuple):
        for item in value:
            _check_text(item, name, key)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """Position of a map's entry: index and column of its key's start, index after its value."""

    name: str
    start: int
    column: int
    end: int


def add_entry(text: str, key: str, entry: str, value: Mapping[str, object], *, name: str) -> str:
    """Return a text with a new entry at the end of a top-level key's map, in the map's style; the rest is unchanged.

    Args:
        text: a YAML document with a map at the top level.
        key: the key; its map has at least one entry.
        entry: name of the new entry.
        value: the new entry's value.
        name: name of the text in errors.

    Raises:
        RegistryError: the text is not valid YAML, the key has no map with entries, or YAML cannot contain the value.
    """
    _check_text({entry: value}, name, key)
    is_flow, _, entries = _entries(text, key, name)
    last = entries[-1]
    if is_flow:
        return f"{text[: last.end]}, {_render({entry: value})[1:-1]}{text[last.end :]}"
    ending, at = _line_ending(text), _line_end(text, last.end)
    gap = "" if text[:at].endswith("\n") else ending
    indent = " " * last.column
    head = f"{indent}{_render(entry)}:{'' if value else ' {}'}"
    lines = [head, *(f"{indent}  {_render(inner)}: {_render(item)}" for inner, item in value.items())]
    return text[:at] + gap + "".join(f"{line}{ending}" for line in lines) + text[at:]


def remove_entry(text: str, key: str, entry: str, *, name: str) -> str:
    """Return a text without an entry of a top-level key's map and its comments; a map without entries becomes `{}`.

    Args:
        text: a YAML document with a map at the top level.
        key: the key.
        entry: name of the entry.
        name: name of the text in errors.

    Raises:
        RegistryError: the text is not valid YAML, or there is no such entry.
    """
    is_flow, key_end, entries = _entries(text, key, name)
    position = next((index for index, candidate in enumerate(entries) if candidate.name == entry), None)
    if position is None:
        raise RegistryError(f"no `{entry}`", place=Place(file=name, key=key))
    removed = entries[position]
    if not is_flow:
        begin = text.rfind("\n", 0, removed.start) + 1
        rest = text[:begin] + text[_line_end(text, removed.end) :]
        colon = text.index(":", key_end) + 1
        return rest if len(entries) > 1 else f"{rest[:colon]} {{}}{rest[colon:]}"
    if position + 1 < len(entries):
        return text[: removed.start] + text[entries[position + 1].start :]
    return text[: entries[position - 1].end if position else removed.start] + text[removed.end :]


def _entries(text: str, key: str, name: str) -> tuple[bool, int, list[_Entry]]:
    """Return whether a top-level map is in braces, the index after its key, and its entries."""
    import yaml  # as in _scan

    _scan(text, name)  # for errors with places
    events = iter(list(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))
    next(event for event in events if isinstance(event, yaml.MappingStartEvent))
    while not isinstance(head := next(events), yaml.MappingEndEvent):
        for _ in _node_events(head, events):
            pass
        node = list(_node_events(next(events), events))
        if getattr(head, "value", None) == key and isinstance(node[0], yaml.MappingStartEvent):
            inner = iter(node[1:-1])
            pairs = [(list(_node_events(first, inner)), list(_node_events(next(inner), inner))) for first in inner]
            entries = [
                _Entry(
                    name=str(getattr(start[0], "value", "")),
                    start=_start(start[0]).index,
                    column=_start(start[0]).column,
                    end=_locate(start[0], value).end,
                )
                for start, value in pairs
            ]
            if entries:
                return bool(node[0].flow_style), _end(head).index, entries
    raise RegistryError("found no entries, expected a map of names", place=Place(file=name, key=key))


def _line_end(text: str, at: int) -> int:
    """Return the start of the line after an end index, which may be this start already."""
    if text[at - 1] == "\n":
        return at
    stop = text.find("\n", at)
    return len(text) if stop < 0 else stop + 1


def _scan(text: str, name: str) -> _TopLevelMap:
    """Return the positions of the top-level values."""
    import yaml  # late: only for commands that change the registry

    parse_yaml(text, name=name, kind=RegistryError)  # for errors with places
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    events = iter(list(yaml.parse(text, Loader=loader)))
    start = next(event for event in events if isinstance(event, yaml.MappingStartEvent))
    if start.flow_style:
        raise RegistryError(
            "the top-level map is in braces; flowai cannot add its keys there",
            place=Place(file=name, line=_start(start).line + 1),
            hint="write one `key: value` per line",
        )
    values: dict[str, _Value] = {}
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        for _ in _node_events(key, events):  # a key may be a collection too; flowai has none
            pass
        value = list(_node_events(next(events), events))
        values[str(getattr(key, "value", ""))] = _locate(key, value)
    ends = next(event for event in events if isinstance(event, yaml.DocumentEndEvent))
    end = _start(ends).index if ends.explicit else len(text)
    return _TopLevelMap(values=values, column=_start(start).column, end=end)


def _node_events(first: Event, events: Iterator[Event]) -> Iterator[Event]:
    """Yield the events of a node with its content."""
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
    # the end mark of a block collection is at the next token, after comments: the end of its last content counts
    last = next(
        event
        for event in reversed(node)
        if not isinstance(event, yaml.CollectionEndEvent) or _start(event).index < _end(event).index
    )
    inner = node[1:-1]
    items = None
    if isinstance(first, yaml.SequenceStartEvent) and all(isinstance(event, yaml.ScalarEvent) for event in inner):
        items = tuple(event.value for event in inner if isinstance(event, yaml.ScalarEvent))
    return _Value(
        start=_start(first).index,
        end=_end(last).index,
        items_end=_end(inner[-1]).index if items else 0,
        column=_start(first).column,
        key_column=_start(key).column,
        quote=(first.style or "") if isinstance(first, yaml.ScalarEvent) and first.style in ("'", '"') else "",
        items=items,
        is_block=is_block,
    )


def _start(event: Event) -> Mark:
    return cast("Mark", event.start_mark)  # the parser sets it on every event


def _end(event: Event) -> Mark:
    return cast("Mark", event.end_mark)  # as above
