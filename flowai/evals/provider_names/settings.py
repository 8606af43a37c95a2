"""Maps a provider's `config` to LiteLLM's parameters, an address and a key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.provider_names.tables import DEFAULT_API_BASES, KEY_VARIABLES
from flowai.evals.provider_names.tools import openai_tool_choice, openai_tools

if TYPE_CHECKING:
    from collections.abc import Mapping

_SAME_NAMES = frozenset((
    "aws_region_name", "chat_template_kwargs", "dimensions", "encoding_format", "frequency_penalty", "function_call",
    "functions", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "min_p", "modalities", "n",
    "parallel_tool_calls", "prediction", "presence_penalty", "reasoning_effort", "repetition_penalty",
    "response_format", "safety_settings", "seed", "service_tier", "stop", "store", "temperature", "thinking",
    "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
))  # fmt: skip
_RENAMED = {
    "max_output_tokens": "max_tokens", "maxOutputTokens": "max_tokens", "maxTokens": "max_tokens",
    "max_new_tokens": "max_tokens", "max_length": "max_tokens", "num_predict": "max_tokens",
    "topP": "top_p", "topK": "top_k", "stopSequences": "stop", "stop_sequences": "stop",
    "presencePenalty": "presence_penalty", "frequencyPenalty": "frequency_penalty", "random_seed": "seed",
    "toolConfig": "tool_choice", "tool_config": "tool_choice", "toolChoice": "tool_choice",
    "apiVersion": "api_version", "safetySettings": "safety_settings", "responseSchema": "response_format",
    "reasoningEffort": "reasoning_effort",
}  # fmt: skip
_CLOUD_NAMES: dict[str, dict[str, str]] = {
    "bedrock": {
        "region": "aws_region_name", "accessKeyId": "aws_access_key_id", "secretAccessKey": "aws_secret_access_key",
        "sessionToken": "aws_session_token", "profile": "aws_profile_name", "endpoint": "aws_bedrock_runtime_endpoint",
    },
    "vertex": {"region": "vertex_location", "projectId": "vertex_project", "credentials": "vertex_credentials"},
    "sagemaker": {"region": "aws_region_name"},
    "watsonx": {"projectId": "project_id"},
}  # fmt: skip
_NESTED = ("generationConfig", "inferenceConfig", "options", "parameters")
_SYSTEM_KEYS = ("systemPrompt", "system_prompt", "systemInstruction", "system", "instructions")
_USED_ELSEWHERE = frozenset((
    "accountId", "apiBaseUrl", "apiHost", "apiKey", "apiKeyEnvar", "baseUrl", "basePath", "headers", "organization",
    "passthrough", "reasoning", "workspaceUrl", *_NESTED, *_SYSTEM_KEYS,
))  # fmt: skip
"""Keys that are read here, but are no parameters."""


_REASONING_MODEL = re.compile(r"o[134](?:-|$)|gpt-5(?!.*-chat)")
_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias")


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a model."""

    params: dict[str, Any] = {}
    """Parameters by LiteLLM's names."""
    api_base: str | None = None
    """Base URL; None for the provider's own."""
    api_key: str | None = None
    """Key, or reference to a variable (`${NAME}`); None for LiteLLM's variables."""
    ignored: tuple[str, ...] = ()
    """Keys of the configuration that have no effect."""

    def __repr__(self) -> str:
        """Return a text without the key."""
        return f"ModelSettings(params={sorted(self.params)}, api_base={self.api_base!r})"


def model_settings(
    provider: str, config: Mapping[str, Any], environ: Mapping[str, str], *, model: str = ""
) -> ModelSettings:
    """Map a configuration.

    Args:
        provider: promptfoo's name of the provider (`azure`); empty for a model that is named as LiteLLM does.
        config: as written, without references to files.
        environ: variables of addresses and keys.
        model: the provider's name of the model; those of OpenAI that reason take no sampling parameters.
    """
    flat = dict(config)
    for name in _NESTED:
        nested = config.get(name)
        if isinstance(nested, dict):
            flat = {**{key: value for key, value in nested.items() if key not in flat}, **flat}
    cloud = _CLOUD_NAMES.get(provider, {})
    params: dict[str, Any] = {}
    ignored: list[str] = []
    for key, value in flat.items():
        target = cloud.get(key) or _RENAMED.get(key) or (key if key in _SAME_NAMES else None)
        if target is not None:
            params[target] = value
        elif key not in _USED_ELSEWHERE:
            ignored.append(key)
    if _REASONING_MODEL.match(model.rpartition("/")[2]):
        ignored += [name for name in _SAMPLING if params.pop(name, None) is not None]
    return ModelSettings(
        params=_clean({**params, **_extras(config)}),
        api_base=_api_base(provider, config, environ),
        api_key=_api_key(provider, config, environ),
        ignored=tuple(ignored),
    )


def _extras(config: Mapping[str, Any]) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    headers = dict(config["headers"]) if isinstance(config.get("headers"), dict) else {}
    if config.get("organization"):
        headers["OpenAI-Organization"] = str(config["organization"])
    if headers:
        extras["extra_headers"] = headers
    if isinstance(config.get("passthrough"), dict):
        extras["extra_body"] = dict(config["passthrough"])
    reasoning = config.get("reasoning")
    if isinstance(reasoning, dict) and reasoning.get("effort"):
        extras["reasoning_effort"] = reasoning["effort"]
    return extras


def _clean(params: dict[str, Any]) -> dict[str, Any]:
    """Bring tools and formats into OpenAI's form, which is LiteLLM's."""
    if "tools" in params:
        params["tools"] = openai_tools(params["tools"])
    if "tool_choice" in params:
        params["tool_choice"] = openai_tool_choice(params["tool_choice"])
    if "response_format" in params:
        params["response_format"] = _response_format(params["response_format"])
    return {name: value for name, value in params.items() if value is not None}


def _response_format(value: Any) -> Any:  # noqa: ANN401 - as written
    """Return OpenAI's chat form of a format, also for the form of its responses API and for a bare schema."""
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    if kind == "json_schema" and "json_schema" not in value and isinstance(value.get("schema"), dict):
        inner = {"name": value.get("name") or "answer", "schema": value["schema"]}
        return {"type": kind, "json_schema": {**inner, **({"strict": value["strict"]} if "strict" in value else {})}}
    if kind not in {"json_schema", "json_object", "text"}:
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}
    return value


def _api_base(provider: str, config: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    for key in ("apiBaseUrl", "baseUrl", "apiHost"):
        if config.get(key):
            return _address(provider, str(config[key]), is_host=key == "apiHost")
    if provider == "databricks" and config.get("workspaceUrl"):
        return f"{str(config['workspaceUrl']).rstrip('/')}/serving-endpoints"
    if provider == "cloudflare-ai" and config.get("accountId"):
        return f"https://api.cloudflare.com/client/v4/accounts/{config['accountId']}/ai/run/"
    default, variables = DEFAULT_API_BASES.get(provider, ("", ()))
    name = next((name for name in variables if environ.get(name)), None)
    if name is not None:
        return _address(provider, environ[name], is_host="HOST" in name)
    return default or None


def _address(provider: str, value: str, *, is_host: bool) -> str:
    """Return an address; a host has no scheme, and OpenAI's API is below `/v1` there."""
    if "://" in value or value.startswith(("{{", "${")):
        return value
    return f"https://{value.rstrip('/')}" + ("/v1" if is_host and provider == "openai" else "")


def _api_key(provider: str, config: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    if config.get("apiKey"):
        return str(config["apiKey"])
    if config.get("apiKeyEnvar"):
        return f"${{{config['apiKeyEnvar']}}}"
    name = next((name for name in KEY_VARIABLES.get(provider, ()) if environ.get(name)), None)
    return None if name is None else f"${{{name}}}"


def system_prompt_of(config: Mapping[str, Any]) -> str | None:
    """Return the system message that a configuration sets, under any of the providers' names; None for none."""
    for key in _SYSTEM_KEYS:
        value = config.get(key)
        if isinstance(value, dict) and isinstance(value.get("parts"), list):  # Google's form
            value = "\n".join(str(part["text"]) for part in value["parts"] if isinstance(part, dict) and "text" in part)
        if isinstance(value, str) and value:
            return value
    return None
