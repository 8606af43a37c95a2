"""A registry file, or an environment's file laid over it, as one value that knows where each part stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.errors import Place, RegistryError

if TYPE_CHECKING:
    from flowai.storage.files import Document, PathKeys


@dataclass(frozen=True, kw_only=True, slots=True)
class LayeredSource:
    """One or two documents read as one."""

    documents: tuple[Document, ...]
    """The base first, then what lies over it."""
    value: dict[str, Any]
    """The merged content."""

    def at(self, *keys: str | int) -> Any:  # noqa: ANN401 - YAML is anything
        """Give the value at the end of a way that exists."""
        value: Any = self.value
        for key in keys:
            value = value[key]
        return value

    def place(self, *keys: str | int) -> Place:
        """Give the place of a value, or of its nearest parent; where two files have it, the one that wins."""
        way: PathKeys = keys
        while True:
            for document in reversed(self.documents):
                if way in document.lines:
                    return Place(
                        file=document.file,
                        line=document.lines[way],
                        key=".".join(str(key) for key in keys) or None,
                    )
            way = way[:-1]


def merge(*documents: Document) -> LayeredSource:
    """Lay documents over each other: maps merge, lists and scalars replace.

    Args:
        documents: the base first.

    Returns:
        The sources.

    Raises:
        RegistryError: a document is no map, or a key in it is no text.
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


def _check_keys(document: Document, value: Any, way: PathKeys) -> None:  # noqa: ANN401 - YAML is anything
    """Refuse names that YAML took for something else: `1:`, `no:`, `2024-05-01:`."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise RegistryError(
                    f"found the {type(key).__name__} `{key}` as a name, expected text",
                    place=document.location(*way, str(key)),
                    hint=f'put it in quotes: "{key}"',
                )
            _check_keys(document, item, (*way, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_keys(document, item, (*way, index))
