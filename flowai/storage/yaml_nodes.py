"""Checks a composed YAML document before it becomes values: aliases, depth, size, tags and numbers.

PyYAML builds values from hostile documents until the interpreter's stack or memory ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from flowai.errors import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from yaml.nodes import Node

    from flowai.errors import ProjectError

MAX_DEPTH = 100
"""Levels of maps and lists; every reader of values may be recursive."""
MAX_VALUES = 1_000_000
"""Far above any real file; aliases counted as often as they are used."""
MAX_NUMBER_CHARS = 400
"""The longest double in digits has fewer; longer ones need quadratic time."""

_TAG = "tag:yaml.org,2002:"
_NUMBERS = frozenset({f"{_TAG}int", f"{_TAG}float"})
_NOT_PLAIN = frozenset(f"{_TAG}{name}" for name in ("binary", "omap", "pairs", "set"))  # no values of JSON


@dataclass(slots=True)
class _OpenNode:
    """A collection whose content is being checked."""

    node: Node
    children: Iterator[Node]
    value_count: int = 1
    height: int = 1
    """Levels from this node to its deepest descendant."""

    def add(self, value_count: int, height: int) -> None:
        self.value_count += value_count
        self.height = max(self.height, height + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeChecker:
    """Checks the nodes of one document, called `name` in errors of class `kind`."""

    name: str
    kind: type[ProjectError]
    _scalars: dict[int, ScalarNode] = field(default_factory=dict)

    def check(self, root: Node) -> None:
        """Check a document; each node once, however many aliases it has.

        Raises:
            ProjectError: of class `kind`; an alias inside its own anchor, too deep, too many values, or no plain value.
        """
        done: dict[int, tuple[int, int]] = {}  # id of a node: number of values and height
        opened: list[_OpenNode] = []
        path: set[int] = set()
        node: Node | None = root
        while node is not None or opened:
            if node is None:
                node = next(opened[-1].children, None)
                if node is None:
                    closed = opened.pop()
                    path.discard(id(closed.node))
                    done[id(closed.node)] = (closed.value_count, closed.height)
                    self._add(opened, closed.node, closed.value_count, closed.height)
                continue
            if id(node) in path:
                raise self._error(node, "an alias is inside its own anchor", hint="write the value out there")
            if id(node) in done:
                self._add(opened, node, *done[id(node)])
            elif isinstance(node, ScalarNode):
                self._check_scalar(node)
                self._add(opened, node, 1, 0)
            else:
                self._check_tag(node)
                self._check_depth(node, len(opened) + 1)
                path.add(id(node))
                opened.append(_OpenNode(node, _children(node)))
            node = None

    def find_invalid_scalar(self, constructors: Mapping[Any, Any], loader: object) -> ProjectError | None:
        """Return the error of the first scalar that its tag's constructor refuses; None if there is none."""
        for node in self._scalars.values():
            build = constructors.get(node.tag)
            if build is None:
                continue
            try:
                build(loader, node)
            except Exception as error:  # noqa: BLE001 - PyYAML raises what its own code happens to raise
                reason = f": {str(error).splitlines()[0]}" if isinstance(error, ValueError) and str(error) else ""
                shown = node.tag.removeprefix(_TAG)
                return self._error(node, f"not valid YAML: `{node.value[:60]}` is no {shown}{reason}")
        return None

    def _add(self, opened: list[_OpenNode], node: Node, value_count: int, height: int) -> None:
        """Add a complete child to the innermost open node."""
        if not opened:
            return
        opened[-1].add(value_count, height)
        self._check_depth(node, len(opened) + height)
        if opened[-1].value_count > MAX_VALUES:
            raise self._error(node, "too many values; aliases must not multiply without end")

    def _check_depth(self, node: Node, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._error(node, f"more than {MAX_DEPTH} levels of maps and lists", hint="nest the values less")

    def _check_tag(self, node: Node) -> None:
        if node.tag in _NOT_PLAIN:
            found = node.tag.removeprefix(_TAG)
            raise self._error(
                node,
                f"not valid YAML: found the tag `!!{found}`, expected a map, list, text, number, time, boolean or null",
                hint="remove the tag",
            )

    def _check_scalar(self, node: ScalarNode) -> None:
        self._check_tag(node)
        if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER_CHARS:
            raise self._error(
                node,
                f"not valid YAML: a number of {len(node.value):,} characters, expected at most {MAX_NUMBER_CHARS}",
                hint="put it in quotes if it is a text",
            )
        self._scalars[id(node)] = node

    def _error(self, node: Node, what: str, *, hint: str | None = None) -> ProjectError:
        return self.kind(what, place=Place(file=self.name, line=node.start_mark.line + 1), hint=hint)


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, SequenceNode):
        yield from node.value
