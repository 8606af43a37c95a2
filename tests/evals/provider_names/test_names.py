"""Names and settings of promptfoo's providers become LiteLLM's, or a named error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from flowai.evals.provider_names.names import UnsupportedProviderError, resolve_provider
from flowai.evals.provider_names.settings import system_prompt_of
from flowai.evals.provider_names.tables import LITELLM_NAMES, UNSUPPORTED_HEADS, UNSUPPORTED_PARTS
from flowai.evals.suites.provider_names import model_name, provider_of
from flowai.providers.catalog import DATA_FILE
from flowai.providers.litellm.adapter import import_litellm

if TYPE_CHECKING:
    from pathlib import Path

MODELS = [
    ("openai:gpt-4o-mini", "openai/gpt-4o-mini"),
    ("openai:chat:gpt-4o-mini", "openai/gpt-4o-mini"),
    ("openai:responses:gpt-4.1", "openai/gpt-4.1"),
    ("openai:completion:gpt-3.5-turbo-instruct", "text-completion-openai/gpt-3.5-turbo-instruct"),
    ("openai:embedding:text-embedding-3-small", "openai/text-embedding-3-small"),
    ("openai:moderation:omni-moderation-latest", "openai/omni-moderation-latest"),
    ("openai:chat:ft:gpt-4o-mini:acme::abc", "openai/ft:gpt-4o-mini:acme::abc"),
    ("anthropic:messages:claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
    ("anthropic:claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
    ("google:gemini-2.5-flash", "gemini/gemini-2.5-flash"),
    ("palm:gemini-pro", "gemini/gemini-pro"),
    ("vertex:gemini-2.5-pro", "vertex_ai/gemini-2.5-pro"),
    ("vertex:chat:gemini-2.5-pro", "vertex_ai/gemini-2.5-pro"),
    ("bedrock:anthropic.claude-3-haiku-20240307-v1:0", "bedrock/anthropic.claude-3-haiku-20240307-v1:0"),
    ("bedrock:converse:amazon.nova-lite-v1:0", "bedrock/converse/amazon.nova-lite-v1:0"),
    ("azure:chat:my-deployment", "azure/my-deployment"),
    ("azureopenai:chat:my-deployment", "azure/my-deployment"),
    ("ollama:chat:llama3.2:1b", "ollama_chat/llama3.2:1b"),
    ("ollama:llama3.2", "ollama/llama3.2"),
    ("ollama:completion:llama3.2", "ollama/llama3.2"),
    ("ollama:embeddings:nomic", "ollama/nomic"),
    ("mistral:mistral-large-latest", "mistral/mistral-large-latest"),
    ("groq:llama-3.3-70b-versatile", "groq/llama-3.3-70b-versatile"),
    ("openrouter:meta-llama/llama-3.1-8b:free", "openrouter/meta-llama/llama-3.1-8b:free"),
    ("huggingface:text-generation:org/model", "huggingface/org/model"),
    ("hf:chat:org/model", "huggingface/org/model"),
    ("huggingface:text-classification:org/model", "huggingface/org/model"),
    ("togetherai:chat:org/model", "together_ai/org/model"),
    ("deepseek:deepseek-chat", "deepseek/deepseek-chat"),
    ("xai:grok-4", "xai/grok-4"),
    ("cohere:command-r", "cohere_chat/command-r"),
    ("cohere:embedding:embed-english-v3.0", "cohere/embed-english-v3.0"),
    ("perplexity:sonar", "perplexity/sonar"),
    ("fireworks:accounts/fireworks/models/x", "fireworks_ai/accounts/fireworks/models/x"),
    ("cerebras:llama3.1-8b", "cerebras/llama3.1-8b"),
    ("replicate:owner/model:abc", "replicate/owner/model:abc"),
    ("localai:chat:lunademo", "openai/lunademo"),
    ("litellm:gpt-4o", "litellm_proxy/gpt-4o"),
    ("github:openai/gpt-4o", "github/openai/gpt-4o"),
    ("ai21:jamba-mini", "ai21/jamba-mini"),
    ("databricks:my-model", "databricks/my-model"),
    ("voyage:voyage-3", "voyage/voyage-3"),
    ("cloudflare-ai:chat:@cf/meta/llama-3", "cloudflare/@cf/meta/llama-3"),
    ("llama", "openai/llama"),
    ("sambanova:some-model", "sambanova/some-model"),
    ("openai/gpt-4o-mini", "openai/gpt-4o-mini"),
    ("bedrock/anthropic.claude-v2:1", "bedrock/anthropic.claude-v2:1"),
    ("my-registry-model", "my-registry-model"),
]


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_a_model_has_litellm_s_name(name: str, model: str) -> None:
    assert model_name(name) == model


def test_every_prefix_is_one_that_litellm_knows() -> None:
    known = {str(getattr(item, "value", item)) for item in import_litellm().provider_list}
    known |= msgspec.json.decode(DATA_FILE.read_bytes())["providers"].keys()  # its configured ones are not in the list
    assert set(LITELLM_NAMES.values()) - known == set()


@pytest.mark.parametrize(
    ("name", "use"),
    [("openai:embedding:e", "embedding"), ("huggingface:feature-extraction:e", "embedding"), ("voyage:v", "embedding"),
     ("openai:moderation:m", "moderation"), ("hf:text-classification:c", "classification"), ("openai:gpt-4o", "chat")],
)  # fmt: skip
def test_a_name_says_how_the_model_is_called(name: str, use: str) -> None:
    assert resolve_provider(name).use == use


UNSUPPORTED = [
    *(f"{head}:x" for head in UNSUPPORTED_HEADS),
    *(f"{head}:{part}:x" for head, part in UNSUPPORTED_PARTS),
    "browser", "mcp", "websocket", "exec:", "openai:", "http", "file://provider.rb", "promptfoo:redteam:crescendo",
    "anthropic:claude-agent-sdk",
]  # fmt: skip


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_provider_without_counterpart_is_a_named_error_with_a_way_out(name: str) -> None:
    with pytest.raises(UnsupportedProviderError) as caught:
        resolve_provider(name)
    assert name in caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize("config", [{"multipart": {}, "tls": {"ca": "x"}}, {"signatureAuth": {"a": 1}},
                                    {"auth": {"type": "oauth"}}, {"session": {"url": "http://x"}}])  # fmt: skip
def test_an_http_target_that_needs_more_is_a_named_error(config: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedProviderError, match="is not supported"):
        resolve_provider("http://localhost", config)


@pytest.mark.parametrize(
    ("name", "kind", "file", "function"),
    [
        ("echo", "echo", None, None),
        ("https://example.com/api", "http", None, None),
        ("exec:python3 provider.py --fast", "exec", None, None),
        ("python:provider.py", "python", "provider.py", None),
        ("python:lib/provider.py:call", "python", "lib/provider.py", "call"),
        ("file://provider.py:call", "python", "provider.py", "call"),
        ("file://provider.js", "javascript", "provider.js", None),
        ("file://lib/provider.mjs:named", "javascript", "lib/provider.mjs", "named"),
        ("./provider.cjs", "javascript", "./provider.cjs", None),
        ("file://provider.ts", "javascript", "provider.ts", None),
    ],
)
def test_programs_are_no_models(name: str, kind: str, file: str | None, function: str | None) -> None:
    resolved = resolve_provider(name)
    assert (resolved.kind, resolved.file, resolved.function, resolved.model) == (kind, file, function, None)


def test_a_webhook_is_an_http_target() -> None:
    resolved = resolve_provider("webhook:https://example.com/hook", {"a": 1})
    assert resolved.config == {
        "url": "https://example.com/hook", "method": "POST", "body": {"prompt": "{{prompt}}", "config": {"a": 1}},
        "transformResponse": "json.output",
    }  # fmt: skip


def _params(name: str, **config: Any) -> dict[str, Any]:
    return resolve_provider(name, config, environ={}).settings.params


def test_parameters_have_litellm_s_names() -> None:
    assert _params("openai:gpt-4o", temperature=0, max_tokens=5, top_p=1, seed=1, stop=["x"], n=1) == {
        "temperature": 0, "max_tokens": 5, "top_p": 1, "seed": 1, "stop": ["x"], "n": 1,
    }  # fmt: skip
    nested = {"temperature": 0.5, "maxOutputTokens": 9, "topK": 3, "stopSequences": ["."]}
    assert _params("google:gemini-2.5-flash", generationConfig=nested) == {
        "temperature": 0.5, "max_tokens": 9, "top_k": 3, "stop": ["."],
    }  # fmt: skip
    assert _params("bedrock:m", region="eu-west-1", profile="p") == {
        "aws_region_name": "eu-west-1",
        "aws_profile_name": "p",
    }
    assert _params("ollama:chat:m", num_predict=3) == {"max_tokens": 3}
    assert _params("openai:o4-mini", reasoning={"effort": "low"}) == {"reasoning_effort": "low"}
    assert _params("openai:gpt-4o", passthrough={"a": 1}, organization="o", headers={"X-A": "b"}) == {
        "extra_body": {"a": 1}, "extra_headers": {"X-A": "b", "OpenAI-Organization": "o"},
    }  # fmt: skip


def test_tools_and_formats_become_openai_s() -> None:
    schema = {"type": "object", "properties": {}}
    expected = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}]
    forms: list[dict[str, Any]] = [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}},
        {"name": "f", "description": "d", "input_schema": schema},
        {"functionDeclarations": [{"name": "f", "description": "d", "parameters": schema}]},
        {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": schema}}},
        {"type": "function", "name": "f", "description": "d", "parameters": schema},
        {"name": "f", "description": "d", "parameters": schema},
    ]
    for form in forms:
        assert _params("openai:gpt-4o", tools=[form])["tools"] == expected
    chosen = {"type": "function", "function": {"name": "f"}}
    for choice in ({"type": "tool", "name": "f"}, {"mode": "tool", "toolName": "f"}, chosen):
        assert _params("openai:gpt-4o", tool_choice=choice)["tool_choice"] == chosen
    assert _params("anthropic:c", tool_choice={"type": "any"})["tool_choice"] == "required"
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert _params("openai:gpt-4o", response_format={"type": "json_schema", "name": "n", "schema": schema}) == {
        "response_format": wanted
    }


@pytest.mark.parametrize(
    ("name", "config", "environ", "expected"),
    [
        ("openai:gpt-4o", {"apiBaseUrl": "http://h:1/v1"}, {}, ("http://h:1/v1", None)),
        ("openai:gpt-4o", {"apiHost": "h.example"}, {}, ("https://h.example/v1", None)),
        ("openai:gpt-4o", {"apiKeyEnvar": "MY_KEY"}, {}, (None, "${MY_KEY}")),
        ("azure:chat:d", {"apiHost": "me.openai.azure.com"}, {}, ("https://me.openai.azure.com", None)),
        ("azure:chat:d", {}, {"AZURE_API_HOST": "me.azure.com", "AZURE_OPENAI_API_KEY": "k"},
         ("https://me.azure.com", "${AZURE_OPENAI_API_KEY}")),
        ("localai:chat:m", {}, {}, ("http://localhost:8080/v1", None)),
        ("localai:chat:m", {}, {"LOCALAI_BASE_URL": "http://x/v1"}, ("http://x/v1", None)),
        ("ollama:chat:m", {}, {"OLLAMA_BASE_URL": "http://x"}, ("http://x", None)),
        ("databricks:m", {"workspaceUrl": "https://w/"}, {}, ("https://w/serving-endpoints", None)),
        ("mistral:m", {}, {}, (None, None)),
    ],
)  # fmt: skip
def test_address_and_key(name: str, config: Any, environ: Any, expected: tuple[str | None, str | None]) -> None:
    settings = resolve_provider(name, config, environ=environ).settings
    assert (settings.api_base, settings.api_key) == expected


def test_a_key_is_not_shown() -> None:
    assert "planted" not in repr(resolve_provider("openai:gpt-4o", {"apiKey": "planted"}).settings)


def test_settings_without_effect_are_named() -> None:
    settings = resolve_provider("openai:gpt-4o", {"maxRetries": 2, "temperature": 0, "nonsense": 1}).settings
    assert settings.ignored == ("maxRetries", "nonsense")
    assert system_prompt_of({"systemInstruction": {"parts": [{"text": "Be brief"}]}}) == "Be brief"


REASONING = [
    "openai:gpt-5-mini",
    "openai:chat:o3-mini",
    "openai:o1",
    "azure:chat:gpt-5.1",
    "openai:chat:openai/gpt-5.4",
]
OTHERS = [
    "openai:gpt-4o",
    "openai:gpt-5-chat-latest",
    "openai:gpt-5.2-chat",
    "mistral:o3x",
    "anthropic:claude-sonnet-4-5",
]


@pytest.mark.parametrize(("name", "params"), [(name, {"max_tokens": 9}) for name in REASONING] + [
    (name, {"max_tokens": 9, "temperature": 0, "top_p": 1}) for name in OTHERS
])  # fmt: skip
def test_models_that_reason_take_no_sampling_parameters(name: str, params: dict[str, Any]) -> None:
    settings = resolve_provider(name, {"temperature": 0, "top_p": 1, "max_tokens": 9}).settings
    assert settings.params == params
    assert set(settings.ignored) == {"temperature", "top_p"} - params.keys()


def test_a_record_has_the_script_s_absolute_path(tmp_path: Path) -> None:
    provider = provider_of({"id": "python:a.py:f", "label": "mine", "config": {"x": 1}}, folder=tmp_path, place="s:1")
    assert provider.code is not None
    assert (provider.kind, provider.name, provider.code.file, provider.code.function, provider.config) == (
        "python", "mine", str(tmp_path / "a.py"), "f", {"x": 1},
    )  # fmt: skip
