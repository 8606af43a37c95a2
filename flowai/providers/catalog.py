"""Providers with OpenAI's protocol: addresses, keys and parameters, as the installed LiteLLM knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from flowai.providers.client import Endpoint


class DirectProvider(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A provider with OpenAI's protocol, and how its requests differ from OpenAI's."""

    name: str
    """Prefix of its models (`openai` in `openai/gpt-4o-mini`)."""
    base_url: str
    """Address of its API, without `/chat/completions`."""
    key_variables: tuple[str, ...] = ()
    """Environment variables of the key; the first that is set wins."""
    base_url_variables: tuple[str, ...] = ()
    """Environment variables of the address; the first that is set wins."""


class ProviderCatalog:
    """Catalog of the providers that flowai calls without LiteLLM."""

    def direct(self, endpoint: Endpoint) -> DirectProvider | None:
        """Return the provider of an endpoint; None if its calls must go through LiteLLM."""
        prefix, slash, _ = endpoint.model.partition("/")
        return _OPENAI if prefix == "openai" or not slash else None


_OPENAI = DirectProvider(
    name="openai",
    base_url="https://api.openai.com/v1",
    key_variables=("OPENAI_API_KEY",),
    base_url_variables=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
)
