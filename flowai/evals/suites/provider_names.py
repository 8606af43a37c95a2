"""Maps the providers of a suite to models and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.evals.suites.records import SuiteProvider

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_KIND_SEGMENTS = frozenset({"chat", "completion", "messages", "responses"})
_LITELLM_PROVIDERS = {
    "google": "gemini",
    "vertex": "vertex_ai",
    "azureopenai": "azure",
    "togetherai": "together_ai",
}


def model_name(text: str) -> str:
    """Return LiteLLM's name for promptfoo's (`openai:chat:gpt-4o` is `openai/gpt-4o`); other names are unchanged."""
    head, colon, rest = text.partition(":")
    if not colon or "/" in head:  # a name in the registry, or LiteLLM's (`bedrock/...:0`)
        return text
    kind, more, model = rest.partition(":")
    if more and kind in _KIND_SEGMENTS:
        rest = model
    return f"{_LITELLM_PROVIDERS.get(head, head)}/{rest}"


def provider_of(entry: Mapping[str, Any], *, folder: Path, place: str) -> SuiteProvider:  # noqa: ARG001
    """Build a provider from an entry of `providers` (`id`, `label`, `config`).

    Raises:
        ValueError: the entry names nothing that flowai can call; the text says what.
    """
    name = str(entry["id"])
    config = dict(entry.get("config") or {})
    common: dict[str, Any] = {"id": name, "name": str(entry.get("label") or name), "config": config, "place": place}
    if name == "echo" or name.startswith("echo:"):
        return SuiteProvider(kind="echo", **common)
    return SuiteProvider(kind="model", model=model_name(name), **common)
