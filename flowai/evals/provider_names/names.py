"""Maps the name of a promptfoo provider (`openai:chat:gpt-4o-mini`) to a kind of target, and to LiteLLM's name."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowai.evals.provider_names.settings import ModelSettings, model_settings
from flowai.evals.provider_names.tables import (
    ALIASES,
    CLASSIFICATION_KINDS,
    EMBEDDING_KINDS,
    EMBEDDING_PREFIXES,
    KINDS,
    LITELLM_NAMES,
    UNSUPPORTED_HEADS,
    UNSUPPORTED_PARTS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

TargetKind = Literal["model", "echo", "http", "exec", "python", "javascript"]
ModelUse = Literal["chat", "embedding", "moderation", "classification"]

_FILE_PREFIX = "file://"
_JAVASCRIPT_FILE = re.compile(r"\.(?:[cm]?js|[cm]?ts)(?::[\w$.]+)?$", re.IGNORECASE)
_PYTHON_FILE = re.compile(r"\.py(?::[\w.]+)?$")
_UNSUPPORTED_HTTP_KEYS = ("multipart", "signatureAuth", "tls", "session", "streamResponse")
_HTTP_AUTH_TYPES = frozenset({"bearer", "basic", "api_key"})
_WEBHOOK_RESPONSE = "json.output"


class UnsupportedProviderError(ValueError):
    """A provider that flowai cannot call.

    Args:
        what: the problem.
        hint: what to do instead.
    """

    def __init__(self, what: str, *, hint: str) -> None:
        super().__init__(f"{what}; {hint}")
        self.what = what
        self.hint = hint


class ProviderName(msgspec.Struct, frozen=True, kw_only=True):
    """A provider of a suite, in the terms of flowai."""

    kind: TargetKind
    use: ModelUse = "chat"
    """How a model is called; only of kind `model`."""
    model: str | None = None
    """Name in the registry, or LiteLLM's; only of kind `model`."""
    file: str | None = None
    """File of a script as written; only of kinds `python` and `javascript`."""
    function: str | None = None
    """Function of the script; None for the default."""
    config: dict[str, Any] = {}
    """The provider's configuration; for `webhook:` that of the HTTP target that does the same."""
    settings: ModelSettings = ModelSettings()
    """Parameters, address and key of a model."""


def resolve_provider(
    name: str, config: Mapping[str, Any] | None = None, *, environ: Mapping[str, str] = os.environ
) -> ProviderName:
    """Resolve a provider's name and configuration.

    Args:
        name: as written. One without a colon is a name of the registry, or LiteLLM's (`openai/gpt-4o-mini`).
        config: its `config`, without references to files.
        environ: variables that name addresses and keys as promptfoo does; the suite's `env` included.

    Raises:
        UnsupportedProviderError: flowai cannot call it.
    """
    config = dict(config or {})
    text = name.strip()
    script = _script(text, config) or _program(text, config)
    if script is not None:
        return script
    head, colon, rest = text.partition(":")
    if head in UNSUPPORTED_HEADS and (colon or "/" not in head):
        raise UnsupportedProviderError(f"provider `{text}` is not supported", hint=UNSUPPORTED_HEADS[head])
    if "/" in head or (not colon and head != "llama"):
        return ProviderName(
            kind="model", model=text, config=config, settings=model_settings("", config, environ, model=text)
        )
    return _model(head, rest, text, config, environ)


def _script(text: str, config: dict[str, Any]) -> ProviderName | None:
    """Return the script that a name names."""
    if text.startswith("python:"):
        path = text.removeprefix("python:").removeprefix(_FILE_PREFIX)
        file, function = split_function(path)
        return ProviderName(kind="python", file=file, function=function, config=config)
    if text.startswith(("http:", "https:", "exec:", "webhook:")):
        return None
    path = text.removeprefix(_FILE_PREFIX)
    if text.startswith(_FILE_PREFIX) and _PYTHON_FILE.search(path):
        file, function = split_function(path)
        return ProviderName(kind="python", file=file, function=function, config=config)
    if _JAVASCRIPT_FILE.search(path) and not text.startswith(("golang:", "ruby:", "transformers")):
        file, function = split_function(path)
        return ProviderName(kind="javascript", file=file, function=function, config=config)
    if text.startswith(_FILE_PREFIX):
        hint = "scripts end in .py, .js, .cjs, .mjs or .ts; lists of providers in .yaml or .json"
        raise UnsupportedProviderError(f"provider `{text}` is a file of another kind", hint=hint)
    return None


def split_function(path: str) -> tuple[str, str | None]:
    """Split `FILE:FUNCTION`; the function is None if there is none."""
    file, colon, function = path.rpartition(":")
    if colon and re.fullmatch(r"[\w$.]+", function) and not re.search(r"\.(?:py|[cm]?js|[cm]?ts)$", function):
        return file, function
    return path, None


def _program(text: str, config: dict[str, Any]) -> ProviderName | None:
    """Return the target of a name that needs no model."""
    if text in {"echo", "promptfoo:echo"}:
        return ProviderName(kind="echo", config=config)
    if text in {"http", "https"}:
        if not config.get("url") and not config.get("request"):
            raise UnsupportedProviderError(
                f"provider `{text}` has no address", hint="write it as `config.url`, or as the provider's id"
            )
        return ProviderName(kind="http", config=_checked_http(text, config))
    if text.startswith(("http://", "https://")):
        return ProviderName(kind="http", config={"url": text, **_checked_http(text, config)})
    if text.startswith("webhook:"):
        url = text.removeprefix("webhook:")
        body = {"prompt": "{{prompt}}", **({"config": config} if config else {})}
        return ProviderName(
            kind="http",
            config={"url": url, "method": "POST", "body": body, "transformResponse": _WEBHOOK_RESPONSE},
        )
    if text.startswith("exec:"):
        if not text.removeprefix("exec:").strip():
            raise UnsupportedProviderError("provider `exec:` names no program", hint="write `exec:PROGRAM ARGUMENT`")
        return ProviderName(kind="exec", config=config)
    return None


def _checked_http(text: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of an HTTP target unless it needs what flowai has not."""
    auth = config.get("auth")
    kind = auth.get("type") if isinstance(auth, dict) else None
    names = [name for name in _UNSUPPORTED_HTTP_KEYS if config.get(name)]
    names += [f"auth: {{type: {kind}}}"] if auth and kind not in _HTTP_AUTH_TYPES else []
    if names:
        raise UnsupportedProviderError(
            f"provider `{text}`: `{names[0]}` is not supported", hint="send the request from a script: `python:call.py`"
        )
    return config


def _model(head: str, rest: str, text: str, config: dict[str, Any], environ: Mapping[str, str]) -> ProviderName:
    provider = ALIASES.get(head, head)
    part, _, after = rest.partition(":")
    hint = UNSUPPORTED_PARTS.get((provider, part))
    if hint is not None:
        raise UnsupportedProviderError(f"provider `{text}` is not supported", hint=hint)
    kind = part if part in KINDS and (after or provider in {"azure", "llama"}) else ""
    model = after if kind else rest
    if not model and provider != "llama":
        raise UnsupportedProviderError(f"provider `{text}` names no model", hint=f"write `{head}:MODEL`")
    prefix = LITELLM_NAMES.get(head, head)
    return ProviderName(
        kind="model",
        use=_use(kind, provider),
        model=_litellm_name(provider, prefix, kind, model or "llama"),
        config=config,
        settings=model_settings(provider, config, environ, model=model),
    )


def _use(kind: str, provider: str) -> ModelUse:
    if kind in EMBEDDING_KINDS or provider == "voyage":
        return "embedding"
    if kind in CLASSIFICATION_KINDS:
        return "classification"
    return "moderation" if kind == "moderation" else "chat"


def _litellm_name(provider: str, prefix: str, kind: str, model: str) -> str:
    if kind in EMBEDDING_KINDS:
        prefix = EMBEDDING_PREFIXES.get(provider, prefix)
    elif provider == "ollama" and kind == "chat":
        prefix = "ollama_chat"
    elif provider == "openai" and kind == "completion":
        prefix = "text-completion-openai"
    elif provider == "azure" and kind == "completion":
        prefix = "azure_text"
    elif provider == "bedrock" and kind == "converse":
        prefix = "bedrock/converse"
    return f"{prefix}/{model}"
