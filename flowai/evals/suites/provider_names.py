"""Maps the providers of a suite to models and programs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from flowai.evals.provider_names.names import ProviderName, resolve_provider
from flowai.evals.suites.records import CodeRef, SuiteProvider

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def model_name(text: str) -> str:
    """Return LiteLLM's name for promptfoo's (`openai:chat:gpt-4o` is `openai/gpt-4o`); other names are unchanged.

    Raises:
        ValueError: flowai cannot call it; the text says what to do instead.
    """
    resolved = resolve_provider(text)
    if resolved.model is None:
        raise ValueError(f"`{text}` is not a model")
    return resolved.model


def provider_of(
    entry: Mapping[str, Any], *, folder: Path, place: str, environ: Mapping[str, str] = os.environ
) -> SuiteProvider:
    """Build a provider from an entry of `providers` (`id`, `label`, `config`).

    Args:
        entry: the entry; references to files in its `config` are resolved already.
        folder: the suite's folder, from which files of scripts are named.
        place: `file:line`.
        environ: variables that name addresses and keys as promptfoo does.

    Raises:
        ValueError: the entry names nothing that flowai can call; the text says what to do instead.
    """
    name = str(entry["id"])
    resolved = resolve_provider(name, entry.get("config"), environ=environ)
    settings = resolved.settings
    return SuiteProvider(
        id=name,
        name=str(entry.get("label") or name),
        kind=resolved.kind,
        model=resolved.model,
        config=resolved.config,
        params=settings.params,
        api_base=settings.api_base,
        api_key=settings.api_key,
        code=_code(resolved, folder, place),
        place=place,
    )


def _code(resolved: ProviderName, folder: Path, place: str) -> CodeRef | None:
    if resolved.file is None:
        return None
    language: Literal["python", "javascript"] = "python" if resolved.kind == "python" else "javascript"
    file = str((folder / resolved.file).resolve())
    return CodeRef(language=language, file=file, function=resolved.function, place=place)
