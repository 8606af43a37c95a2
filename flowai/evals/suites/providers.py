"""Reads `providers` (or `targets`): names of models, and targets with settings of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import expected_one_of
from flowai.evals.provider_names.names import UnsupportedProviderError
from flowai.evals.suites.files.code_refs import code
from flowai.evals.suites.files.config_files import read_config_files
from flowai.evals.suites.files.environment import read_env
from flowai.evals.suites.provider_names import provider_of
from flowai.evals.suites.records import SuiteProvider
from flowai.evals.suites.unknown_keys import warn_unknown
from flowai.evals.suites.yaml_reader import (
    FILE_PREFIX,
    YamlNode,
    check_size,
    expect_list,
    expect_mapping,
    expect_number,
    expect_text,
    read_document,
    resolve_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PROVIDER_KEYS = frozenset({"id", "label", "config", "prompts", "transform", "delay", "env"})
_IGNORED_KEYS = {
    "inputs": "it belongs to red-team runs",
    "description": "it is for people",
    "metadata": "it is for people",
    "postprocess": "write `transform`",
    "tags": "it is for people",
    "cost": "prices are in the registry",
    "timeout": "calls have flowai's deadlines",
}
_GRADER_KINDS = frozenset({"text", "classification", "moderation", "embedding"})
_FILE_SUFFIXES = (".yaml", ".yml", ".json")


def read_providers(value: object, node: YamlNode) -> tuple[tuple[str, ...], tuple[SuiteProvider, ...]]:
    """Read all providers: the names of all, in order, and the records of those that are more than a model's name."""
    names: dict[str, None] = {}
    targets: dict[str, SuiteProvider] = {}
    for entry, child in _entries(value, node):
        provider = _provider(entry, child, is_replaced=child.file.context.replaces_models)
        if entry.keys() == {"id"} and provider.model is not None and not _has_settings(provider):
            names[provider.model] = None
            continue
        name, number = provider.name, 1
        while name in names:
            if targets.get(name) == provider:
                break
            number += 1
            name = f"{provider.name} ({number})"
        names[name] = None
        targets[name] = msgspec.structs.replace(provider, name=name)
    return tuple(names), tuple(targets.values())


def read_provider(value: object, node: YamlNode) -> SuiteProvider:
    """Read one provider of a case or a grader."""
    entries = list(_entries(value if not isinstance(value, list) else value[:1], node))
    if len(entries) != 1:
        raise node.error(f"found {len(entries)} providers; expected one")
    return _provider(*entries[0])


def read_graders(value: object, node: YamlNode) -> dict[str, SuiteProvider]:
    """Read the provider of graded assertions: `grader` for texts and `embedder`, by kind or one for both.

    In the form by kind (`{text: ..., embedding: ...}`) each has one.
    """
    if value is None:
        return {}
    if not isinstance(value, dict) or "id" in value or not value.keys() & _GRADER_KINDS:
        provider = read_provider(value, node)
        return {"grader": provider, "embedder": provider}
    found: dict[str, SuiteProvider] = {}
    for kind, part in value.items():
        if kind not in _GRADER_KINDS:
            raise node.at(kind).error(
                f"unknown kind of provider `{kind}`", hint=expected_one_of(_GRADER_KINDS, found=kind)
            )
        if part is not None:
            found["embedder" if kind == "embedding" else "grader"] = read_provider(part, node.at(kind))
    return found


def _has_settings(provider: SuiteProvider) -> bool:
    """Return whether a provider is more than the name of a model."""
    return bool(provider.params or provider.api_base or provider.api_key)


def _entries(value: object, node: YamlNode) -> Iterator[tuple[dict[str, Any], YamlNode]]:
    """Yield every provider as a mapping with an `id`; files of providers are read."""
    if isinstance(value, list):
        if not value:
            raise node.error("found an empty list; expected at least one")
        for index, part in enumerate(value):
            yield from _entries_of(part, node.at(index))
    else:
        yield from _entries_of(value, node)


def _entries_of(value: object, node: YamlNode) -> Iterator[tuple[dict[str, Any], YamlNode]]:
    if not isinstance(value, dict):
        text = expect_text(value, node).strip()
        if text.startswith(FILE_PREFIX) and text.endswith(_FILE_SUFFIXES):
            yield from _file_entries(text, node)
        else:
            yield {"id": text}, node
        return
    entry = expect_mapping(value, node)
    if "id" not in entry:
        if len(entry) != 1 or not isinstance(next(iter(entry.values())), dict | None):
            raise node.error("a provider without `id`", hint="such as `{id: openai:gpt-4o-mini, config: {...}}`")
        name, value = next(iter(entry.items()))
        settings = expect_mapping(value or {}, node.at(name))
        shown = settings.get("label") or settings.get("id") or name  # what it names is the key
        yield {**settings, "id": name, "label": shown}, node.at(name)
        return
    text = expect_text(entry["id"], node.at("id")).strip()
    if text.startswith(FILE_PREFIX) and text.endswith(_FILE_SUFFIXES):
        for read, child in _file_entries(text, node.at("id")):
            yield {**read, **{key: part for key, part in entry.items() if key != "id"}}, child
        return
    yield {**entry, "id": text}, node


def _file_entries(text: str, node: YamlNode) -> Iterator[tuple[dict[str, Any], YamlNode]]:
    file = read_document(resolve_path(text, node), node)
    child = YamlNode(file=file, line=1)
    value = file.document.value if file.document else None
    if value is None:
        raise child.error("found nothing; expected providers")
    yield from _entries(value, child)


def _provider(entry: dict[str, Any], node: YamlNode, *, is_replaced: bool = False) -> SuiteProvider:
    entry = warn_unknown(entry, PROVIDER_KEYS, node, unsupported={}, ignored=_IGNORED_KEYS)
    if entry.get("config") is not None:
        config = expect_mapping(entry["config"], node.at("config"))
        entry = {**entry, "config": read_config_files(config, node.at("config"))}
    environ = node.file.context.environ
    try:
        provider = provider_of(entry, folder=node.file.path.parent, place=node.location, environ=environ)
    except UnsupportedProviderError as error:
        if is_replaced:
            name = str(entry.get("label") or entry["id"])
            return SuiteProvider(id=str(entry["id"]), name=name, kind="echo", place=node.location)
        raise node.at("id").error(error.what, hint=error.hint) from None
    except ValueError as error:
        raise node.at("config").error(str(error)) from None
    if provider.code is not None and provider.code.file is not None:
        check_size(resolve_path(provider.code.file, node), node)
    return msgspec.structs.replace(
        provider,
        name=str(entry.get("label") or entry["id"]),
        prompts=_prompts(entry.get("prompts"), node.at("prompts")),
        transform=_transform(entry.get("transform"), node.at("transform")),
        delay_s=expect_number(entry["delay"], node.at("delay")) / 1000 if entry.get("delay") is not None else 0.0,
        env=read_env(entry.get("env"), node.at("env")),
        place=node.location,
    )


def _prompts(value: object, node: YamlNode) -> tuple[str, ...] | None:
    if value is None:
        return None
    values = [value] if isinstance(value, str) else expect_list(value, node)
    return tuple(expect_text(part, node.at(index)) for index, part in enumerate(values))


def _transform(value: object, node: YamlNode) -> Any:  # noqa: ANN401 - a CodeRef or None
    return None if value is None else code(expect_text(value, node), node)
