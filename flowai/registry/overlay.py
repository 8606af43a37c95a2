"""Merges an environment's file over its base, and keeps the position of each value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.errors import Place, RegistryError

if TYPE_CHECKING:
    from flowai.storage.files import Document, PathKeys


@dataclass(frozen=True, kw_only=True, slots=True)
class LayeredSource:
    """Merged documents."""

    documents: tuple[Document, ...]
    """The base first."""
    value: dict[str, Any]

    def at(self, *keys: str | int) -> Any:  # noqa: ANN401 - YAML is anything
        """Return the value at an existing path."""
        value: Any = self.value
        for key in keys:
            value = value[key]
        return value

    def place(self, *keys: str | int) -> Place:
        """Return the position of a value, or of its nearest parent, in the file that wins."""
        known: PathKeys = keys
        while True:
            for document in reversed(self.documents):
                if known in document.lines:
                    return Place(
                        file=document.file,
                        line=document.lines[known],
                        key=".".join(str(key) for key in keys) or None,
                    )
            known = known[:-1]


def merge(*documents: Document) -> LayeredSource:
    """Merge documents, the base first: maps merge, lists and scalars replace.

    Raises:
        RegistryError: a document is not a map, or a key is not a text.
    """
    value: dict[str, Any] = {}
    for document in documents:
        if not isinstance(document.value, dict):
            found = "nothing" if document.value is None else f"a {type(document.value).__name__}"
            raise RegistryError(
                f"found {found}, expected a map with `schema_version`, `models`, `features` and `releases`",
                place=document.location(),
                hint="begin with the line `schema_version: 1`" if document.value is None else None,
            )
        _check_keys(document, document.value, ())
        value = _overlay(value, document.value)
    return LayeredSource(documents=documents, value=value)


def _overlay(base: Any, overlay: Any) -> Any:  # noqa: ANN401 - YAML is anything
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    return {
        **base,
        **{key: _overlay(base[key], value) if key in base else value for key, value in overlay.items()},
    }


def _check_keys(document: Document, value: Any, path: PathKeys) -> None:  # noqa: ANN401 - YAML is anything
    """Refuse keys that YAML does not read as text: `1:`, `no:`, `2024-05-01:`."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise RegistryError(
                    f"found the {type(key).__name__} `{key}` as a name, expected text",
                    place=document.location(*path, str(key)),
                    hint=f'put it in quotes: "{key}"',
                )
            _check_keys(document, item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_keys(document, item, (*path, index))
