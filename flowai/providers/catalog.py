"""Providers with OpenAI's protocol: addresses, keys and parameters, as the installed LiteLLM knows them.

`providers.json` is written by `docs/provider_data.py`, which tries each feature of a request on LiteLLM.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from flowai.providers.client import Endpoint

DATA_FILE = Path(__file__).with_name("providers.json")
THROUGH_LITELLM = "litellm"
"""Family of the models that must be called through LiteLLM."""
CUSTOM = "@custom"
"""Ends the name of a provider's second record: its models at another address than its own."""
NO_KEY = "none"
"""Sent to an `api_base` without a key, as LiteLLM's clients require one."""
MAX_ENDPOINTS = 1_000
_OPENAI_KEY = "OPENAI_API_KEY"


class ModelFamily(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Models of a provider whose requests are built alike. Features are those of `chat_features`."""

    litellm: frozenset[str] = frozenset()
    """Features that LiteLLM refuses, or sends in a way of its own."""
    drop: frozenset[str] = frozenset()
    """Features that LiteLLM does not send."""
    rename: dict[str, str] = {}
    """Names under which LiteLLM sends parameters."""
    roles: dict[str, str] = {}
    """Roles under which LiteLLM sends messages."""
    conflicts: tuple[frozenset[str], ...] = ()
    """Features that LiteLLM treats in a way of its own if they come together."""


class ProviderRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A provider with OpenAI's protocol, and how its requests differ from OpenAI's."""

    base_url: str = ""
    """Address of its API; empty if it has none of its own."""
    base_url_end: str = ""
    """LiteLLM appends `/chat/completions` to addresses that end so, and something else to others."""
    strips_slash: bool = True
    """Whether a slash at the end of an address is ignored."""
    base_url_variables: tuple[str, ...] = ()
    """Environment variables of the address; the first that is set wins."""
    key_variables: tuple[str, ...] = ()
    """Environment variables of the key; the first that is set wins."""
    header_variables: dict[str, tuple[str, ...]] = {}
    """Headers that come from the environment; the first variable that is set wins."""
    steering_variables: tuple[str, ...] = ()
    """Environment variables that change requests in another way: with one of them set, LiteLLM builds them."""
    headers: dict[str, str] = {}
    """Headers that LiteLLM adds."""
    body: dict[str, Any] = {}
    """Fields that LiteLLM adds."""
    model_prefix: str = ""
    """Prefix of a model's name in the body."""
    usage_option: bool = True
    """Whether `stream_options` is sent."""
    family: str = THROUGH_LITELLM
    """Family of all models that are not in `models`."""
    models: dict[str, tuple[str, ...]] = {}
    """Models by their family."""
    unclear: tuple[str, ...] = ()
    """Parts of names that LiteLLM looks for: models that are not listed and have one are called through it."""
    embeddings: bool = False
    """Whether LiteLLM sends embeddings in OpenAI's protocol."""


class ProviderData(msgspec.Struct, frozen=True, kw_only=True):
    """The data file."""

    litellm: str
    """Version that was asked."""
    features: frozenset[str]
    """Features that were tried."""
    families: dict[str, ModelFamily]
    providers: dict[str, ProviderRecord]
    """By the prefix of their models."""
    openai_models: frozenset[str]
    """OpenAI's models that need no prefix."""


class DirectProvider(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A provider that is called without LiteLLM, resolved for an endpoint."""

    name: str
    """Prefix of its models (`openai` in `openai/gpt-4o-mini`)."""
    base_url: str
    """Without a slash at the end."""
    headers: tuple[tuple[str, str], ...]
    """Hold the key: never shown, logged or recorded."""
    model: str
    """The model's name in the body."""
    body: dict[str, Any]
    """Fields of every chat request."""
    usage_option: bool
    """Whether `stream_options` is sent."""
    family: ModelFamily | None
    """None if chat requests go through LiteLLM."""
    features: frozenset[str]
    """Features of chat requests that are sent without LiteLLM."""
    embeddings: bool
    """Whether embeddings are sent without LiteLLM."""

    def __repr__(self) -> str:
        """Return a text without the key."""
        return f"DirectProvider(name={self.name!r}, base_url={self.base_url!r}, model={self.model!r})"


class ProviderCatalog:
    """Catalog of the providers that flowai calls without LiteLLM.

    File and environment are read at first use of an endpoint.

    Args:
        file: the data; default the file of the package.
    """

    def __init__(self, file: Path = DATA_FILE) -> None:
        self._file = file
        self._data: ProviderData | None = None
        self._resolved: dict[Endpoint, DirectProvider | None] = {}

    @property
    def data(self) -> ProviderData:
        """Return the contents of the data file."""
        if self._data is None:
            self._data = msgspec.json.decode(self._file.read_bytes(), type=ProviderData)
        return self._data

    def direct(self, endpoint: Endpoint) -> DirectProvider | None:
        """Return the provider of an endpoint; None if its calls must go through LiteLLM."""
        try:
            return self._resolved[endpoint]
        except KeyError:
            if len(self._resolved) >= MAX_ENDPOINTS:
                self._resolved.clear()
            provider = self._resolved[endpoint] = _resolve(endpoint, self.data)
            return provider


def _resolve(endpoint: Endpoint, data: ProviderData) -> DirectProvider | None:
    name, _, model = endpoint.model.partition("/")
    if not model and endpoint.model in data.openai_models and endpoint.api_base is None:
        name, model = "openai", endpoint.model
    own = data.providers.get(name)
    if own is None or not model or endpoint.api_base == "" or is_any_set(own.steering_variables):
        return None
    base_url = endpoint.api_base or first_set(own.base_url_variables) or own.base_url
    key = endpoint.api_key or (NO_KEY if endpoint.api_base else first_set(_own_key_variables(name, own)))
    if not _is_usable(own, base_url) or not key or not _is_header_text(key):
        return None
    record = own if _has_host_of(base_url, own.base_url) else data.providers.get(name + CUSTOM, own)
    family = data.families.get(family_name(record, model))
    if family is None and not record.embeddings:
        return None
    return DirectProvider(
        name=name,
        base_url=base_url.removesuffix("/"),
        headers=_headers(record, key),
        model=model if model.startswith(record.model_prefix) else record.model_prefix + model,
        body=record.body,
        usage_option=record.usage_option,
        family=family,
        features=frozenset() if family is None else data.features - family.litellm,
        embeddings=record.embeddings,
    )


def usual_key_variables(provider: str) -> tuple[str, ...]:
    """Return the environment variables of a hosted provider's key, the usual one first; none for any other provider."""
    record = ProviderCatalog().data.providers.get(provider)
    if record is None or urlsplit(record.base_url).hostname in (None, "localhost"):
        return ()
    return _own_key_variables(provider, record)


def _own_key_variables(provider: str, record: ProviderRecord) -> tuple[str, ...]:
    """Return a provider's variables without OpenAI's, which LiteLLM reads for many: no key goes to another company."""
    return tuple(name for name in record.key_variables if provider == "openai" or name != _OPENAI_KEY)


def family_name(record: ProviderRecord, model: str) -> str:
    """Return the family of a model; `THROUGH_LITELLM` if it is not known for certain."""
    for name, models in record.models.items():
        if model in models:
            return name
    lowered = model.lower()
    return THROUGH_LITELLM if any(part in lowered for part in record.unclear) else record.family


def _is_usable(record: ProviderRecord, base_url: str) -> bool:
    return (
        is_plain_url(base_url)
        and base_url.removesuffix("/").endswith(record.base_url_end)
        and (record.strips_slash or not base_url.endswith("/"))
        and not _is_regional(urlsplit(base_url).hostname or "")
    )


def _is_regional(host: str) -> bool:
    """Return whether a host is a regional one of OpenAI's, with prices and rules of its own."""
    return host.endswith(".openai.com") and host != "api.openai.com"


def is_plain_url(url: str) -> bool:
    """Return whether a path can be appended to a base URL: no query, no user, nothing that clients would escape."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and port != 0
        and url.isascii()
        and url.isprintable()
        and not set(url) & set(" \"'<>?#@\\^`{|}%;")
        and "//" not in parts.path
        and "/." not in parts.path
        and "chat/completions" not in parts.path
        and parts.netloc == parts.netloc.lower()
    )


def _has_host_of(base_url: str, own_url: str) -> bool:
    return urlsplit(base_url).hostname == urlsplit(own_url).hostname


def _headers(record: ProviderRecord, key: str) -> tuple[tuple[str, str], ...]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}", **record.headers}
    for name, variables in record.header_variables.items():
        value = first_set(variables)
        if value is not None:
            headers[name] = value
    return tuple(headers.items())


def _is_header_text(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def first_set(variables: tuple[str, ...]) -> str | None:
    """Return the value of the first environment variable that is set and not empty."""
    return next((value for name in variables if (value := os.environ.get(name))), None)


def is_any_set(variables: tuple[str, ...]) -> bool:
    """Return whether one of these environment variables is set and not empty."""
    return first_set(variables) is not None
