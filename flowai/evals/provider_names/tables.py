"""Tables of promptfoo's providers: LiteLLM's names of them, and those that have no counterpart.

Source: promptfoo, "LLM providers" (promptfoo.dev/docs/providers); LiteLLM, "Providers"
(docs.litellm.ai/docs/providers).
"""

from __future__ import annotations

LITELLM_NAMES: dict[str, str] = {
    "abliteration": "abliteration",
    "ai21": "ai21",
    "aimlapi": "aiml",
    "alibaba": "dashscope",
    "alicloud": "dashscope",
    "aliyun": "dashscope",
    "anthropic": "anthropic",
    "azure": "azure",
    "azureopenai": "azure",
    "bedrock": "bedrock",
    "cerebras": "cerebras",
    "cloudflare-ai": "cloudflare",
    "cohere": "cohere_chat",
    "cometapi": "cometapi",
    "dashscope": "dashscope",
    "databricks": "databricks",
    "deepseek": "deepseek",
    "docker": "docker_model_runner",
    "fireworks": "fireworks_ai",
    "github": "github",
    "google": "gemini",
    "groq": "groq",
    "helicone": "helicone",
    "hf": "huggingface",
    "huggingface": "huggingface",
    "hyperbolic": "hyperbolic",
    "lambdalabs": "lambda_ai",
    "litellm": "litellm_proxy",
    "llama": "openai",
    "llamaapi": "meta_llama",
    "llamafile": "llamafile",
    "localai": "openai",
    "meta": "meta",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshot": "moonshot",
    "novita": "novita",
    "nscale": "nscale",
    "nvidia": "nvidia_nim",
    "ollama": "ollama",
    "openai": "openai",
    "openrouter": "openrouter",
    "palm": "gemini",
    "perplexity": "perplexity",
    "replicate": "replicate",
    "sagemaker": "sagemaker",
    "snowflake": "snowflake",
    "togetherai": "together_ai",
    "vercel": "vercel_ai_gateway",
    "vertex": "vertex_ai",
    "vllm": "hosted_vllm",
    "voyage": "voyage",
    "watsonx": "watsonx",
    "xai": "xai",
}
"""LiteLLM's prefix by promptfoo's."""

DEFAULT_API_BASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "localai": ("http://localhost:8080/v1", ("LOCALAI_BASE_URL",)),
    "llama": ("http://localhost:8080/v1", ("LLAMA_BASE_URL",)),
    "litellm": ("http://0.0.0.0:4000", ("LITELLM_BASE_URL", "LITELLM_API_BASE")),
    "ollama": ("", ("OLLAMA_BASE_URL",)),
    "azure": ("", ("AZURE_API_BASE_URL", "AZURE_API_HOST", "AZURE_OPENAI_BASE_URL", "AZURE_OPENAI_API_HOST")),
    "openai": ("", ("OPENAI_API_HOST", "OPENAI_API_BASE_URL", "OPENAI_BASE_URL")),
    "databricks": ("", ("DATABRICKS_WORKSPACE_URL",)),
}
"""promptfoo's own address and variables of a provider's address, where LiteLLM has others."""

KEY_VARIABLES: dict[str, tuple[str, ...]] = {
    "alibaba": ("DASHSCOPE_API_KEY",),
    "azure": ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"),
    "cloudflare-ai": ("CLOUDFLARE_API_KEY",),
    "github": ("GITHUB_TOKEN",),
    "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY", "PALM_API_KEY"),
    "huggingface": ("HF_TOKEN", "HF_API_TOKEN"),
    "litellm": ("LITELLM_API_KEY",),
    "togetherai": ("TOGETHER_API_KEY",),
}
"""promptfoo's variables of a provider's key, where LiteLLM has others; the first that is set wins."""

ALIASES = {
    "alicloud": "alibaba", "aliyun": "alibaba", "azureopenai": "azure", "dashscope": "alibaba", "hf": "huggingface",
    "palm": "google",
}  # fmt: skip

KINDS = frozenset((
    "chat", "completion", "completions", "converse", "embedding", "embeddings", "feature-extraction", "messages",
    "moderation", "responses", "sentence-similarity", "text-classification", "text-generation", "token-classification",
))  # fmt: skip
"""Second part of a name that says how a model is called."""

EMBEDDING_KINDS = frozenset(("embedding", "embeddings", "feature-extraction", "sentence-similarity"))
CLASSIFICATION_KINDS = frozenset(("text-classification", "token-classification"))
EMBEDDING_PREFIXES = {"cohere": "cohere", "ollama": "ollama"}
"""LiteLLM's prefix of embedding models, where it differs."""

_AGENTS = "only models are called; wrap the agent in a script: `python:agent.py` or `file://agent.js`"
_MEDIA = "only texts are evaluated; call it from a script: `python:call.py`"
_SOCKETS = "call it from a script: `python:call.py` or `file://call.js`"

UNSUPPORTED_HEADS: dict[str, str] = {
    **dict.fromkeys(("a2a", "agentic", "bedrock-agent", "mcp", "n8n", "openclaw", "opencode", "openinterpreter",
                     "slack"), _AGENTS),
    **dict.fromkeys(("elevenlabs", "fal", "modelslab", "quiverai"), _MEDIA),
    **dict.fromkeys(("browser", "websocket", "ws", "wss"), _SOCKETS),
    **dict.fromkeys(("golang", "ruby"), "run it as a program: `exec:go run provider.go`, `exec:ruby provider.rb`"),
    **dict.fromkeys(("package",), "name the package's file: `file://node_modules/PACKAGE/provider.js`"),
    **dict.fromkeys(("transformers", "transformers.js"), "serve the model with an OpenAI-compatible server"),
    **dict.fromkeys(("adaline", "bam", "cloudera", "cloudflare-gateway", "envoy", "f5", "jfrog", "mlflow-gateway",
                     "orcarouter", "portkey", "qwak", "truefoundry", "atlascloud"),
                    "write `openai:chat:MODEL` and the gateway's address as `config.apiBaseUrl`"),
    "promptfoo": "it is promptfoo's own service",
    "sequence": "write one test per input, or a chat prompt",
}  # fmt: skip
"""Providers without a counterpart, with what to do instead."""

UNSUPPORTED_PARTS: dict[tuple[str, str], str] = {
    **{("anthropic", name): _AGENTS for name in ("claude-agent-sdk", "claude-code", "managed-agents")},
    **{("openai", name): _AGENTS for name in ("agents", "assistant", "chatkit", "codex", "codex-app-server",
                                              "codex-sdk", "codex-security")},
    **{("openai", name): _MEDIA for name in ("image", "realtime", "speech", "transcription", "tts", "video")},
    **{("azure", name): _AGENTS for name in ("assistant", "foundry-agent")},
    **{("azure", name): _MEDIA for name in ("image", "realtime", "video")},
    **{("google", name): _MEDIA for name in ("image", "live", "video")},
    **{("vertex", name): _MEDIA for name in ("image", "live", "video")},
    **{("bedrock", name): _AGENTS for name in ("agents", "agentcore", "kb", "knowledge-base")},
    **{("bedrock", name): _MEDIA for name in ("image", "nova-sonic", "video")},
    **{("xai", name): _MEDIA for name in ("image", "video", "voice")},
    **{("hyperbolic", name): _MEDIA for name in ("audio", "image")},
    **{("replicate", name): _MEDIA for name in ("image", "moderation", "video")},
    ("nscale", "image"): _MEDIA,
    ("google", "interactions"): _AGENTS,
}  # fmt: skip
"""As UNSUPPORTED_HEADS, by provider and second part of the name."""
