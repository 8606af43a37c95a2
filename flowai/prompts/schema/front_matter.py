"""Front matter: the YAML at the top of a prompt file.

Source: dotprompt reference, "front matter"; the key `flowai` is an extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from flowai.errors import Place, PromptError, expected_one_of
from flowai.prompts.control_tokens import Policy
from flowai.prompts.schema.parameters import DOTPROMPT_NAMES, OTHER_PLACES, PARAMETERS
from flowai.prompts.schema.picoschema import TYPES, SchemaSource, to_json_schema
from flowai.prompts.template.values import describe_kind
from flowai.storage.files import Document, parse_yaml

if TYPE_CHECKING:
    from flowai.prompts.schema.picoschema import Schema
    from flowai.prompts.template.template_file import TemplateFile

KEYS = ("name", "variant", "version", "description", "model", "config", "input", "output", "metadata", "flowai")
_UNSUPPORTED_KEYS = ("tools", "toolDefs", "maxTurns")
_FORMATS = ("json", "text")
_SECTION_KEYS = {
    "input": ("schema", "default"),
    "output": ("schema", "format"),
    "flowai": ("control_tokens", "untrusted"),
}
_CLOSE = 0.75  # similarity of a misspelt key


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontMatter:
    """Settings in the front matter of a prompt."""

    model: str | None = None
    """None leaves it to the caller."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters by LiteLLM's names."""
    input_schema: Schema | None = None
    """JSON Schema of the values."""
    input_place: Place | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    output_schema: Schema | None = None
    """JSON Schema of the answer; None for free text."""
    promises_json: bool = False
    policy: Policy = "allow"
    untrusted: frozenset[str] = frozenset()
    """Variables whose values get marks."""
    untrusted_place: Place | None = None
    ext: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Keys with a dot, grouped by the part before the last dot."""
    raw: Mapping[str, Any] = field(default_factory=dict)


def parse_front_matter(
    parts: TemplateFile, *, file: str, schemas: Mapping[str, Schema] | None = None, strict: bool = True
) -> FrontMatter:
    """Parse the front matter; `schemas` are those that Picoschema may use by name.

    If not `strict`, unknown keys are ignored and parameters are not checked, as in dotprompt.
    """
    if parts.yaml is None:
        return FrontMatter()
    document = parse_yaml(parts.yaml, name=file, kind=PromptError)
    if document.value is None:
        return FrontMatter()
    if not isinstance(document.value, dict):
        raise PromptError("the front matter is not a map", place=document.location(), hint="write `key: value` lines")
    raw = document.value
    _check_supported(document)
    if strict:
        _check_keys(document)
        _check_parameters(document)
    input_section = _map(document, "input")
    output = _map(document, "output")
    settings = _map(document, "flowai")
    output_schema = _schema(document, "output", output, schemas)
    return FrontMatter(
        model=_text(document, raw, "model"),
        config={DOTPROMPT_NAMES.get(key, key): value for key, value in _map(document, "config").items()},
        input_schema=_schema(document, "input", input_section, schemas),
        input_place=document.location("input", "schema"),
        defaults=_map(document, "input", "default"),
        output_schema=output_schema,
        promises_json=_promises_json(document, output, output_schema),
        policy=_policy(document, settings),
        untrusted=_untrusted(document, settings),
        untrusted_place=document.location("flowai", "untrusted"),
        ext=_extensions(raw),
        raw=raw,
    )


def _check_supported(document: Document) -> None:
    for key in document.value:
        if str(key) in _UNSUPPORTED_KEYS:
            hint = "remove it, and pass it with the call"
            raise PromptError("flowai sends no tools", place=document.location(key), hint=hint)


def _check_keys(document: Document) -> None:
    """Refuse keys that would be ignored silently: misspelt ones, and those one level off."""
    for key in document.value:
        if str(key) not in KEYS and "." not in str(key):
            own = f"a key of your own has a dot: `acme.{key}`"
            raise PromptError(
                f"unknown key `{key}`", place=document.location(key), hint=_key_hint(str(key), "", KEYS, own)
            )
    for section, known in _SECTION_KEYS.items():
        for key, value in _map(document, section).items():
            if key not in known:
                place = document.location(section, key)
                hint = _key_hint(str(key), section, known, _field_hint(section, str(key), value))
                raise PromptError(f"unknown key `{section}.{key}`", place=place, hint=hint)


def _key_hint(found: str, section: str, known: tuple[str, ...], otherwise: str) -> str:
    """Return the hint for an unknown key: the known one that is meant, here or in another section."""
    elsewhere = {f"{other}.{name}": name for other, names in _all_sections().items() for name in names}
    elsewhere |= {name: name for name in KEYS}
    exact = [path for path, name in elsewhere.items() if name == found and path != f"{section}.{found}"]
    near = exact or _close_paths(found, {name: name for name in known}) or _close_paths(found, elsewhere)
    if near:
        return f"did you mean {' or '.join(f'`{path}`' for path in near[:2])}?"
    return f"{otherwise}; there are: {', '.join(f'`{name}`' for name in known)}"


def _all_sections() -> dict[str, tuple[str, ...]]:
    return {**_SECTION_KEYS, "config": (*PARAMETERS, *DOTPROMPT_NAMES)}


def _close_paths(found: str, paths: Mapping[str, str]) -> list[str]:
    import difflib  # small, but only needed here

    near = difflib.get_close_matches(found, set(paths.values()), n=1, cutoff=_CLOSE)
    return [path for path, name in paths.items() if near and name == near[0]]


def _field_hint(section: str, key: str, value: object) -> str:
    if section == "flowai":
        return "remove it"
    what = "variables are declared" if section == "input" else "fields of the answer are declared"
    text = f": `{section}: {{schema: {{{key}: {value}}}}}`" if isinstance(value, str) else ""
    return f"{what} under `{section}.schema`{text}"


def _check_parameters(document: Document) -> None:
    """Refuse unknown parameters, and values of another type than the parameter's."""
    for key, value in _map(document, "config").items():
        place = document.location("config", key)
        name = DOTPROMPT_NAMES.get(str(key), str(key))
        if name not in PARAMETERS:
            near = _close_paths(str(key), {known: known for known in _all_sections()["config"]})
            other = OTHER_PLACES.get(name, "a parameter of one provider goes into `config.extra_body`")
            hint = f"did you mean `{near[0]}`?" if near and name not in OTHER_PLACES else other
            raise PromptError(f"unknown parameter `config.{key}`", place=place, hint=hint)
        expected, is_valid = PARAMETERS[name]
        if value is not None and not is_valid(value):
            hint = "write it without quotes" if isinstance(value, str) else f"write `{key}:` with {expected}"
            raise PromptError(f"found {describe_kind(value)}; expected {expected}", place=place, hint=hint)


def _map(document: Document, *keys: str) -> dict[str, Any]:
    """Return a map of the front matter; an absent or empty one is {}."""
    value = document.value
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        what = f"found a {type(value).__name__}; expected a map"
        raise PromptError(what, place=document.location(*keys), hint="write `key: value` lines below it")
    return value


def _text(document: Document, raw: Mapping[str, Any], key: str) -> str | None:
    value = raw.get(key)
    if value is not None and not isinstance(value, str):
        raise PromptError(f"found a {type(value).__name__}; expected text", place=document.location(key))
    return value


def _schema(
    document: Document, key: str, section: Mapping[str, Any], schemas: Mapping[str, Schema] | None
) -> Schema | None:
    if section.get("schema") is None:
        return None
    source = SchemaSource(document=document, keys=(key, "schema"), named=schemas or {})
    schema = to_json_schema(section["schema"], source)
    _check_types(schema, source)
    return schema


def _check_types(schema: object, source: SchemaSource) -> None:
    """Refuse types that JSON Schema does not have, at any depth."""
    if not isinstance(schema, Mapping):
        return
    kinds = schema.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else [str(kinds)]:
        if kind not in TYPES:
            raise PromptError(
                f"no type `{kind}`", place=source.at("type").place(), hint=expected_one_of(TYPES, found=str(kind))
            )
    for key, kind in (("properties", dict), ("required", list), ("enum", list)):
        if not isinstance(schema.get(key, kind()), kind):
            expected = "map" if kind is dict else "list"
            raise PromptError(f"`{key}` is not a {expected}", place=source.at(key).place())
    for name, inner in schema.get("properties", {}).items():
        _check_types(inner, source.at("properties", name))
    _check_types(schema.get("items"), source.at("items"))
    _check_types(schema.get("additionalProperties"), source.at("additionalProperties"))


def _promises_json(document: Document, output: Mapping[str, Any], schema: Schema | None) -> bool:
    """Return whether the answer should be JSON: `output.format: json`, or a schema without a format."""
    found = output.get("format")
    if found is None:
        return schema is not None
    if found not in _FORMATS:
        hint = expected_one_of(_FORMATS, found=str(found))
        raise PromptError(f"no format `{found}`", place=document.location("output", "format"), hint=hint)
    if found == "text" and schema is not None:
        hint = "write `format: json`, or remove the schema"
        raise PromptError("a schema needs JSON", place=document.location("output", "format"), hint=hint)
    return bool(found == "json")


def _policy(document: Document, settings: Mapping[str, Any]) -> Policy:
    found = settings.get("control_tokens", "allow")
    policies: tuple[Policy, ...] = get_args(Policy)
    for policy in policies:
        if policy == found:
            return policy
    hint = expected_one_of(policies, found=str(found))
    raise PromptError(f"no policy `{found}`", place=document.location("flowai", "control_tokens"), hint=hint)


def _untrusted(document: Document, settings: Mapping[str, Any]) -> frozenset[str]:
    found = settings.get("untrusted") or []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        hint = "write `untrusted: [text]`"
        raise PromptError("expected a list of variables", place=document.location("flowai", "untrusted"), hint=hint)
    return frozenset(found)


def _extensions(raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Group keys such as `acme.retries` by the part before their last dot."""
    grouped: dict[str, dict[str, Any]] = {}
    for key, value in raw.items():
        space, dot, name = str(key).rpartition(".")
        if dot:
            grouped.setdefault(space, {})[name] = value
    return grouped
