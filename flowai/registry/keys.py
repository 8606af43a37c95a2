"""Resolves the keys of a model: from variables, from files, or none where the provider signs in without one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowai.errors import MissingKeyError
from flowai.registry.environment import fill, missing_key, references

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.errors import Place
    from flowai.registry.records import ModelEntry, Registry

KEY_FILE = "file:"
"""Begins an `api_key` that is read from a file."""

USUAL_VARIABLES: dict[str, tuple[str, ...]] = {
    "ai21": ("AI21_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "azure": ("AZURE_API_KEY",),
    "azure_ai": ("AZURE_AI_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    "mistral": ("MISTRAL_API_KEY",),
    "nvidia_nim": ("NVIDIA_NIM_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
    "voyage": ("VOYAGE_API_KEY",),
    "xai": ("XAI_API_KEY",),
}
"""Usual variables of common providers' keys; errors name the first. Source: LiteLLM's provider pages.

The catalog knows those of all providers that are called without LiteLLM; it takes time to load.
"""

SIGN_IN_VARIABLES: dict[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_IDENTITY_TOKEN_FILE"),
    "azure": ("AZURE_AD_TOKEN", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"),
    "azure_ai": ("AZURE_AD_TOKEN", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"),
    "openai": ("OPENAI_IDENTITY_PROVIDER_ID", "OPENAI_IDENTITY_TOKEN_FILE"),
}
"""Variables with which LiteLLM signs in without a key. Bedrock and Vertex AI, which are not in USUAL_VARIABLES, use the
cloud's credentials."""


def keys_of(registry: Registry, name: str, environ: Mapping[str, str], *, root: Path) -> tuple[str, ...]:
    """Return the keys of a model in order; none if it needs none.

    In a list, keys that are not there are left out: the second is there only while keys are rotated.

    Raises:
        MissingKeyError: its variable is not set, or its key file is missing or empty; of a list, none is there.
    """
    entry, place = registry.model(name), registry.places.get(name)
    owner = f"model `{name}`"
    if entry.api_key is not None:
        return _listed_keys(entry, environ, owner=owner, place=place, root=root)
    if entry.api_base is not None:
        return ()  # a provider's usual key is never sent to another address
    provider = entry.model.partition("/")[0]
    usual = usual_variables(provider)
    found = next((environ[variable] for variable in usual if environ.get(variable)), None)
    if found is not None:
        return (found,)
    if usual and not signs_in(provider, environ):
        raise missing_key(usual[0], owner=owner, place=place)
    return ()


def usual_variables(provider: str) -> tuple[str, ...]:
    """Return the usual variables of a provider's key, the first that errors name; none if it needs none."""
    return USUAL_VARIABLES.get(provider) or _catalog_variables(provider)


def signs_in(provider: str, environ: Mapping[str, str]) -> bool:
    """Return whether a provider is signed in to without a key."""
    return any(environ.get(variable) for variable in SIGN_IN_VARIABLES.get(provider, ()))


def key_files(registry: Registry, root: Path) -> tuple[Path, ...]:
    """Return the files that keys are read from."""
    texts = (text for entry in registry.models.values() for text in entry.key_texts)
    return tuple(_path(text, root) for text in texts if text.startswith(KEY_FILE))


def known_keys(registry: Registry, root: Path) -> Iterator[str]:
    """Yield the keys that are in files or in the registry itself, for redaction."""
    for path in key_files(registry, root):
        try:
            yield path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue  # the model's calls report it
    for entry in registry.models.values():
        yield from (text for text in entry.key_texts if not references(text) and not text.startswith(KEY_FILE))


def _listed_keys(
    entry: ModelEntry, environ: Mapping[str, str], *, owner: str, place: Place | None, root: Path
) -> tuple[str, ...]:
    keys, missing = [], []
    for text in entry.key_texts:
        try:
            keys.append(read_key(text, environ, owner=owner, place=place, root=root))
        except MissingKeyError as error:
            missing.append(error)
    if missing and not keys:
        raise missing[0]
    return tuple(keys)


def read_key(text: str, environ: Mapping[str, str], *, owner: str, place: Place | None, root: Path) -> str:
    """Return the key that a text of the registry names.

    Raises:
        MissingKeyError: its variable is not set, or its file is missing or empty.
    """
    if not text.startswith(KEY_FILE):
        return fill(text, environ, owner=owner, place=place)
    path = _path(text, root)
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise MissingKeyError(f"{owner}: the key file `{path}` cannot be read: {reason}", place=place) from None
    if not key:
        raise MissingKeyError(f"{owner}: the key file `{path}` is empty", place=place)
    return key


def _catalog_variables(provider: str) -> tuple[str, ...]:
    from flowai.providers.catalog import usual_key_variables  # late: see USUAL_VARIABLES

    return usual_key_variables(provider)


def _path(text: str, root: Path) -> Path:
    return (root / Path(text.removeprefix(KEY_FILE)).expanduser()).resolve()
