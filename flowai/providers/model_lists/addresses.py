"""Addresses at which providers list their models."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowai.providers.anthropic.requests import BASE_URL as ANTHROPIC_URL
from flowai.providers.anthropic.requests import BASE_URL_VARIABLES as ANTHROPIC_URL_VARIABLES
from flowai.providers.catalog import ProviderCatalog, first_set, is_plain_url
from flowai.providers.client import LOCAL_PROVIDER

if TYPE_CHECKING:
    from flowai.providers.client import Endpoint

GEMINI_URL = "https://generativelanguage.googleapis.com"


class ListAddress(NamedTuple):
    """Request for a provider's list of models."""

    url: str
    """Of the list; that of one model is below it."""
    query: str
    """For all models on one page."""
    headers: tuple[tuple[str, str], ...]
    """Hold the key: never shown, logged or recorded."""
    model: str
    """Name of the model in the list."""
    is_anthropic: bool = False

    def __repr__(self) -> str:
        """Return a text without the key."""
        return f"ListAddress(url={self.url!r}, model={self.model!r})"


def list_address(endpoint: Endpoint) -> ListAddress | str:
    """Return where to ask for a model; or why its provider is not asked, in words that follow `not asked`."""
    name, _, model = endpoint.model.partition("/")
    if endpoint.provider == LOCAL_PROVIDER or endpoint.file is not None:
        return "a local model"
    key = endpoint.api_key
    if name == "anthropic":
        base_url = endpoint.api_base or first_set(ANTHROPIC_URL_VARIABLES) or ANTHROPIC_URL
        headers = [("anthropic-version", "2023-06-01"), *([("x-api-key", key)] if key else [])]
        url = f"{_without_path(base_url)}/v1/models"
        return _checked(ListAddress(url, "?limit=1000", tuple(headers), model, is_anthropic=True))
    if name == "gemini" and endpoint.api_base is None:
        headers = [("x-goog-api-key", key)] if key else []
        return ListAddress(f"{GEMINI_URL}/v1beta/models", "?pageSize=1000", tuple(headers), model)
    record = ProviderCatalog().data.providers.get(name)
    if record is None and not model:
        record, model = ProviderCatalog().data.providers["openai"], endpoint.model
    own_url = None if record is None else first_set(record.base_url_variables) or record.base_url
    found_url = endpoint.api_base or own_url
    if not found_url:
        return f"flowai does not know where `{name}` lists its models"
    headers = [("Authorization", f"Bearer {key}")] if key else []
    prefix = "" if record is None else record.model_prefix
    full = model if model.startswith(prefix) else prefix + model
    return _checked(ListAddress(f"{found_url.removesuffix('/')}/models", "", tuple(headers), full))


def _without_path(base_url: str) -> str:
    return base_url.removesuffix("/").removesuffix("/v1/messages").removesuffix("/v1")


def _checked(address: ListAddress) -> ListAddress | str:
    is_text = all(value.isascii() and value.isprintable() for _, value in address.headers)
    if not is_text:
        return "its key is no text that a header can hold"
    return address if is_plain_url(address.url) else "its address is no plain web address"
