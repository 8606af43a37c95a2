"""Converts the merged YAML of a registry into records; a mismatch is one error with place, found and expected."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from flowai.errors import RegistryError, expected_one_of
from flowai.redaction import names_a_secret, redact
from flowai.registry.fields import NAME, TIERS, TYPE_DESCRIPTIONS
from flowai.registry.records import SCHEMA_VERSION, BindingEntry, Experiment, Feature, ModelEntry, RegistryFile, Release
from flowai.registry.server_policy import Serve, ServeKey, TenantLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.registry.overlay import LayeredSource
    from flowai.storage.files import PathKeys

Record = TypeVar("Record")

MAX_SHOWN_CHARACTERS = 60


def decode(sources: LayeredSource) -> RegistryFile:
    """Convert a merged registry into records; references between them are not checked yet.

    Raises:
        RegistryError: an unknown or missing key, a wrong type, a value out of range; the first one found.
    """
    _check_version(sources)
    value = {key: item for key, item in sources.value.items() if item is not None}
    named: dict[str, Any] = {
        "models": _convert_records(sources, ("models",), ModelEntry),
        "features": _convert_records(sources, ("features",), Feature),
        "releases": _convert_entries(sources, ("releases",), lambda name: _release(sources, name)),
        "experiments": _convert_entries(sources, ("experiments",), lambda name: _experiment(sources, name)),
        "tiers": _tiers(sources),
        "serve": _serve(sources),
    }
    rest = {key: item for key, item in value.items() if key not in named}
    plain = _convert(sources, (), rest, RegistryFile)
    return msgspec.structs.replace(plain, **named)


def _check_version(sources: LayeredSource) -> None:
    found = sources.value.get("schema_version")
    if isinstance(found, int) and not isinstance(found, bool) and found > SCHEMA_VERSION:
        raise RegistryError(
            f"found version {found}, this flowai reads version {SCHEMA_VERSION}",
            place=sources.place("schema_version"),
            hint="install a newer flowai: `pip install --upgrade flowai`",
        )


def _convert_entries(sources: LayeredSource, keys: PathKeys, convert: Callable[[str], Record]) -> dict[str, Record]:
    try:
        entries = sources.at(*keys)
    except KeyError:
        return {}
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise _validation_error(sources, keys, "a map of names")
    for name in entries:
        if re.search(NAME, name) is None:
            raise RegistryError(
                f"found the name `{name}`, expected {TYPE_DESCRIPTIONS[NAME]}", place=sources.place(*keys, name)
            )
    return {name: convert(name) for name in entries}


def _convert_records(sources: LayeredSource, keys: PathKeys, kind: type[Record]) -> dict[str, Record]:
    return _convert_entries(sources, keys, lambda name: _convert(sources, (*keys, name), sources.at(*keys, name), kind))


def _release(sources: LayeredSource, name: str) -> Release:
    keys: PathKeys = ("releases", name)
    value = sources.at(*keys)
    if not isinstance(value, dict):
        raise _validation_error(sources, keys, "a map of features")
    extends = value.get("extends")
    if extends is not None and not isinstance(extends, str):
        raise _validation_error(sources, (*keys, "extends"), "the name of a release")
    bindings = {
        feature: _convert(sources, (*keys, feature), binding, BindingEntry)
        for feature, binding in value.items()
        if feature != "extends"
    }
    return Release(extends=extends, bindings=bindings)


def _experiment(sources: LayeredSource, name: str) -> Experiment:
    keys: PathKeys = ("experiments", name)
    value = sources.at(*keys)
    if isinstance(value, dict) and "arms" in value:
        _convert_records(sources, (*keys, "arms"), BindingEntry)  # one by one, so that an error names the arm
    return _convert(sources, keys, value, Experiment)


def _tiers(sources: LayeredSource) -> dict[str, tuple[str, ...]]:
    def members(name: str) -> tuple[str, ...]:
        if name not in TIERS:
            raise RegistryError(
                f"unknown tier `{name}`", place=sources.place("tiers", name), hint=expected_one_of(TIERS, found=name)
            )
        return _convert(sources, ("tiers", name), sources.at("tiers", name), tuple[str, ...])

    return _convert_entries(sources, ("tiers",), members)


def _serve(sources: LayeredSource) -> Serve:
    value = sources.value.get("serve")
    if value is None:
        return Serve()
    if isinstance(value, dict):
        _convert_records(sources, ("serve", "keys"), ServeKey)  # one by one, so that an error names the key
        _convert_records(sources, ("serve", "tenants"), TenantLimits)
        value = {key: item for key, item in value.items() if item is not None}
    return _convert(sources, ("serve",), value, Serve)


def _convert(sources: LayeredSource, keys: PathKeys, value: Any, kind: type[Record]) -> Record:  # noqa: ANN401 - YAML is anything
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _conversion_error(sources, keys, kind, str(error)) from None


# --- errors: nothing below runs unless something is wrong ---


def _conversion_error(sources: LayeredSource, keys: PathKeys, kind: Any, message: str) -> RegistryError:  # noqa: ANN401 - any type
    """Convert msgspec's message (`Expected `int` >= 1 - at `$.budget.prompt_tokens``) into an error."""
    what, _, inner = message.partition(" - at `$")
    steps = [int(index) if index else name for name, index in re.findall(r"\.([^.\[`]+)|\[(\d+)\]", inner)]
    expected = msgspec.inspect.type_info(kind)
    for step in steps:
        expected = _child_type(expected, step)
    place = (*keys, *steps)
    if unknown := re.match(r"Object contains unknown field `(.*)`", what):
        name = unknown.group(1)
        return RegistryError(
            f"unknown key `{name}`",
            place=sources.place(*place, name),
            hint=expected_one_of(_field_names(expected), found=name),
        )
    if missing := re.match(r"Object missing required field `(.*)`", what):
        name = missing.group(1)
        return RegistryError(
            f"missing key `{name}`, expected {_describe(_child_type(expected, name))}", place=sources.place(*place)
        )
    return _validation_error(sources, place, _describe(expected))


def _validation_error(sources: LayeredSource, keys: PathKeys, expected: str) -> RegistryError:
    value = sources.at(*keys)
    return RegistryError(f"found {_format_found(keys, value)}, expected {expected}", place=sources.place(*keys))


def _format_found(keys: PathKeys, value: Any) -> str:  # noqa: ANN401 - YAML is anything
    """Format a found value, short and without secrets."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if keys and (keys[-1] == "sha256" or names_a_secret(str(keys[-1]))):  # a key may be written in place of its hash
        return "a value"
    text = redact(" ".join(str(value).split()))
    shown = text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."
    return f"the text `{shown}`" if isinstance(value, str) else f"`{shown}`"


def _child_type(kind: msgspec.inspect.Type, step: str | int) -> msgspec.inspect.Type:
    """Return the type of a field or of a list's items."""
    if isinstance(kind, msgspec.inspect.UnionType):
        return _child_type(_record_or_first(kind), step)
    if isinstance(kind, msgspec.inspect.StructType):
        return next(field.type for field in kind.fields if field.encode_name == step)
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return kind.item_type
    return msgspec.inspect.AnyType()


def _field_names(kind: msgspec.inspect.Type) -> tuple[str, ...]:
    if isinstance(kind, msgspec.inspect.UnionType):
        return _field_names(_record_or_first(kind))
    return tuple(field.encode_name for field in kind.fields) if isinstance(kind, msgspec.inspect.StructType) else ()


def _record_or_first(kind: msgspec.inspect.UnionType) -> msgspec.inspect.Type:
    """Return the option that has keys, else the first."""
    options = _without_null(kind)
    return next((option for option in options if isinstance(option, msgspec.inspect.StructType)), options[0])


def _without_null(kind: msgspec.inspect.UnionType) -> list[msgspec.inspect.Type]:
    return [option for option in kind.types if not isinstance(option, msgspec.inspect.NoneType)]


def _describe(kind: msgspec.inspect.Type) -> str:
    """Describe the values of a type."""
    if isinstance(kind, msgspec.inspect.UnionType):
        return " or ".join(_describe(option) for option in _without_null(kind))
    if isinstance(kind, msgspec.inspect.LiteralType):
        return " or ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, msgspec.inspect.StrType):
        return TYPE_DESCRIPTIONS.get(kind.pattern or "", "text")
    if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        return _describe_range(kind)
    names = {
        "BoolType": "true or false",
        "VarTupleType": "a list",
        "DateTimeType": "a time such as 2026-05-02T08:00:00Z",
        "DateType": "a day such as 2027-01-31",
    }
    return names.get(type(kind).__name__, "a map")


def _describe_range(kind: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    number_type = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
    bounds = ((">", kind.gt), (">=", kind.ge), ("<", kind.lt), ("<=", kind.le))
    limits = [f"{sign} {bound}" for sign, bound in bounds if bound is not None]
    return " ".join((number_type, " and ".join(limits))).rstrip()
