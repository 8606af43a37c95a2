"""Resolves `$ref` in a suite: `#/assertionTemplates/short` names a part of it, `file.yaml#/short` one of another file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.evals.suites.yaml_reader import FILE_PREFIX, read_document, resolve_path

if TYPE_CHECKING:
    from flowai.evals.suites.yaml_reader import YamlNode

MAX_VALUES = 1_000_000
MAX_DEPTH = 100
_MISSING = object()


def dereference(suite: dict[str, Any], node: YamlNode) -> dict[str, Any]:
    """Return a suite without references; one to a part that it does not have stays, as do those of JSON Schemas.

    Keys beside `$ref` win over those of the part.
    """
    if not _has_reference(suite):
        return suite
    resolved: dict[str, Any] = _Resolver(suite, node).resolve(suite, ())
    return resolved


def _has_reference(value: object) -> bool:
    if isinstance(value, dict):
        return "$ref" in value or any(map(_has_reference, value.values()))
    return isinstance(value, list) and any(map(_has_reference, value))


class _Resolver:
    def __init__(self, root: object, node: YamlNode) -> None:
        self._root = root
        self._node = node
        self._count = 0

    def resolve(self, value: Any, path: tuple[str, ...], depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
        self._count += 1
        if self._count > MAX_VALUES or depth > MAX_DEPTH:
            raise self._node.error("too many values; references must not multiply without end")
        if isinstance(value, list):
            return [self.resolve(part, path, depth + 1) for part in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str) and reference not in path:
            target = self._find(reference)
            if target is not _MISSING:
                others = {key: part for key, part in value.items() if key != "$ref"}
                merged = {**target, **others} if isinstance(target, dict) else target
                return self.resolve(merged, (*path, reference), depth + 1)
        return {key: self.resolve(part, path, depth + 1) for key, part in value.items()}

    def _find(self, reference: str) -> Any:  # noqa: ANN401 - any JSON value
        file, _, pointer = reference.partition("#")
        root = self._root
        if file:
            if "://" in file and not file.startswith(FILE_PREFIX):
                return _MISSING
            document = read_document(resolve_path(file, self._node), self._node).document
            root = document.value if document else None
        for part in pointer.strip("/").split("/") if pointer.strip("/") else ():
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(root, dict) and key in root:
                root = root[key]
            elif isinstance(root, list) and key.isdecimal() and int(key) < len(root):
                root = root[int(key)]
            else:
                return _MISSING
        return root
