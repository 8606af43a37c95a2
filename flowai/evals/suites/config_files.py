"""Reads the files that a provider's `config` names, such as `tools: file://tools.yaml`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.evals.suites.code_refs import is_code_file
from flowai.evals.suites.yaml_reader import FILE_PREFIX, check_size, read_document, read_file_text, resolve_path

if TYPE_CHECKING:
    from flowai.evals.suites.yaml_reader import YamlNode

_PARSED = frozenset((".json", ".yaml", ".yml"))


def read_config_files(value: Any, node: YamlNode) -> Any:  # noqa: ANN401 - any JSON value
    """Return a configuration with the content of the files that it names; code is left to its user."""
    if isinstance(value, str) and value.startswith(FILE_PREFIX) and not is_code_file(value) and "{{" not in value:
        path = resolve_path(value, node)
        check_size(path, node)
        if path.suffix.lower() in _PARSED:
            document = read_document(path, node).document
            return read_config_files(document.value if document else None, node)
        return read_file_text(path, node)
    if isinstance(value, dict):
        return {key: read_config_files(part, node.at(key)) for key, part in value.items()}
    if isinstance(value, list):
        return [read_config_files(part, node.at(index)) for index, part in enumerate(value)]
    return value
