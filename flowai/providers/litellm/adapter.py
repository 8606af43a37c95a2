"""The only module that imports LiteLLM: loads it late, builds its arguments, reads its objects.

LiteLLM has no options per call for these settings, so they apply to the process from the first call on:
- five environment variables, unless they are set: its price table and its Anthropic headers come from its package
  instead of the network, it does not read `.env` (flowai does), it does not end a stream with repetitions, and it does
  not fetch images;
- no help texts (`suppress_debug_info`);
- if flowai imported it: no log unless `LITELLM_LOG` is set, and the objects of the import are excluded from garbage
  collection (`gc.freeze`), which saves a tenth of a run's CPU time;
- if no other code uses it: no token counter, which takes 40 MB and only estimates. With it, answers of providers that
  report no tokens carry estimates.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.catalog import NO_KEY
from flowai.providers.client import LOCAL_PROVIDER
from flowai.providers.litellm.sent_request import record_request_start
from flowai.providers.openai.response_format import response_format

if TYPE_CHECKING:
    from types import ModuleType

    from flowai.providers.client import Endpoint, Request
    from flowai.providers.litellm.sent_request import SentRequest

# flowai's own limits end a call. LiteLLM keeps one HTTP client per time limit, so this must always be the same number.
NO_TIMEOUT_S = 86_400.0
# Providers besides the OpenAI-compatible ones whose finish reason and usage LiteLLM reads from streams. Cohere's, for
# example, it does not.
_STREAMED_PROVIDERS = frozenset(
    {
        "anthropic",
        "azure",
        "azure_ai",
        "custom_openai",
        "deepseek",
        "fireworks_ai",
        "gemini",
        "groq",
        "hosted_vllm",
        "mistral",
        "openai",
        "openrouter",
        "together_ai",
        "vertex_ai",
        "xai",
    }
)

_OPENAI_PROVIDERS = frozenset({"azure", "custom_openai", "mistral", "openai", "openrouter"})
"""Providers besides LiteLLM's `openai_compatible_providers` to which it sends messages unchanged."""
_FETCHING_PROVIDERS = frozenset({"azure_ai"})
"""Compatible ones that offer Claude too, whose messages LiteLLM converts."""

_QUIET_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",
    "MAX_IMAGE_URL_DOWNLOAD_SIZE_MB": "0",  # it would fetch what a caller's message names
}

_MAX_EQUAL_CHUNKS = 1_000_000_000
"""By default, 100 equal chunks are the provider's failure for LiteLLM; for flowai they are an answer, a bad one."""


async def load(*, shared_process: bool) -> LiteLLMAdapter:
    """Import LiteLLM (about 2 s of CPU, once per process) and warm it up, without network.

    Args:
        shared_process: whether other code in this process may use LiteLLM.
    """
    # in a thread, so that a server answers its health checks meanwhile
    module: Any = sys.modules.get("litellm") or await asyncio.to_thread(import_litellm)
    module.REPEATED_STREAMING_CHUNK_LIMIT = _MAX_EQUAL_CHUNKS  # not by the environment: a caller may have imported it
    module.suppress_debug_info = True
    if not shared_process:
        module.disable_token_counter = True
    library = LiteLLMAdapter(module, shared_process=shared_process)
    await library.warm_up(stream=False)
    return library


def import_litellm() -> Any:  # noqa: ANN401 - a module without types
    """Import LiteLLM with flowai's settings, unless it is imported already."""
    if "litellm" in sys.modules:
        return sys.modules["litellm"]
    for name, value in _QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    collecting = gc.isenabled()
    gc.disable()  # the import creates a million objects, none of them garbage
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pydantic's internals; users cannot act on them
            import litellm
            import openai.resources  # noqa: F401 - otherwise openai imports it during the first call, which is timed
    finally:
        if collecting:
            gc.enable()
    gc.collect()
    gc.freeze()
    if "LITELLM_LOG" not in os.environ:
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    return litellm


class _NoRetries(int):
    """Zero that is true: LiteLLM's embeddings evaluate `max_retries or 2`, and would send three requests."""

    def __bool__(self) -> bool:
        return True


class LiteLLMAdapter:
    """Access to the loaded LiteLLM; used within one event loop.

    Args:
        module: LiteLLM.
        shared_process: whether other code in this process may use LiteLLM.
    """

    def __init__(self, module: ModuleType, *, shared_process: bool) -> None:
        import httpx
        import openai

        self.module = module
        self.failures = (openai.OpenAIError, httpx.HTTPError, json.JSONDecodeError, OSError)
        """Exceptions of a failed call; LiteLLM's are subclasses of OpenAI's. Any other is a bug."""
        self._shared_process = shared_process
        self._warm: set[bool] = set()
        self._session: Any = None
        self._anthropic: Any = None
        self._reads_stream: dict[tuple[str, str | None], bool] = {}

    async def warm_up(self, *, stream: bool) -> None:
        """Run a call with a mocked answer, once: LiteLLM's first call takes 0.3 s longer than others.

        Args:
            stream: whether to warm up native streams instead, which take another path.
        """
        if stream in self._warm:
            return
        self._warm.add(stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as at the import
            answer = await self.module.acompletion(
                model="openai/warm-up",
                messages=[{"role": "user", "content": "."}],
                mock_response=".",
                stream=stream,
                **{"no-log": True},
            )
            if stream:
                async for _ in answer:
                    pass

    def arguments(self, request: Request, sent: SentRequest) -> dict[str, Any]:
        """Build the arguments of a chat request; they win over its params of the same name.

        Args:
            request: the request.
            sent: records whether it goes out.
        """
        msgspec.json.encode((request.messages, request.params))  # raises where LiteLLM would after it reported the call
        arguments = {**request.params, **self.address(request.endpoint, sent), "messages": list(request.messages)}
        for name in ("stream", "stream_options"):
            arguments.pop(name, None)  # flowai decides whether to stream
        if arguments.get("tools"):  # otherwise LiteLLM checks them for MCP servers, with a package it does not install
            arguments["_skip_mcp_handler"] = True
        answer_format = response_format(request)
        if answer_format is not None:
            arguments["response_format"] = answer_format
        return arguments

    def address(self, endpoint: Endpoint, sent: SentRequest) -> dict[str, Any]:
        """Build the arguments for an endpoint, without LiteLLM's own retries and time limits."""
        arguments: dict[str, Any] = {
            "model": endpoint.model,
            "timeout": NO_TIMEOUT_S,
            "max_retries": _NoRetries(),
            "num_retries": 0,
            "logger_fn": sent.record,
            "shared_session": self._shared_session(),
        }
        if endpoint.api_base is not None:
            arguments["api_base"] = endpoint.api_base
            arguments["api_key"] = endpoint.api_key or NO_KEY
        elif endpoint.api_key is not None:
            arguments["api_key"] = endpoint.api_key
        if endpoint.model.startswith("anthropic/"):
            arguments["client"] = self._anthropic_client()
        return arguments

    def reads_stream_of(self, endpoint: Endpoint) -> bool:
        """Return whether LiteLLM reads an endpoint's streams correctly; other answers come as a whole."""
        key = (endpoint.model, endpoint.api_base)
        if key not in self._reads_stream:
            self._reads_stream[key] = self._is_streamed(endpoint)
        return self._reads_stream[key]

    @property
    def counts_tokens(self) -> bool:
        """Return whether LiteLLM estimates the tokens of answers that report none."""
        return not self.module.disable_token_counter

    def passed_on_addresses(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Return the beginnings of addresses in messages that LiteLLM sends unchanged; it fetches all others."""
        provider = self._provider(endpoint)
        if provider == "anthropic":
            return ("https://",)
        is_openai_like = provider in _OPENAI_PROVIDERS or provider in self.module.openai_compatible_providers
        return ("https://", "http://") if is_openai_like and provider not in _FETCHING_PROVIDERS else ()

    def stream_cost_usd(self, endpoint: Endpoint, usage: Any) -> float | None:  # noqa: ANN401 - LiteLLM's own
        """Return the cost of a streamed answer; LiteLLM computes it only after the stream."""
        if endpoint.provider == LOCAL_PROVIDER:
            return 0.0
        try:
            parts = self.module.cost_per_token(model=endpoint.model, usage_object=usage)
        except self.module.exceptions.ModelNotMappedError:
            return None
        return float(sum(parts))

    async def aclose(self) -> None:
        """Close flowai's connections, and LiteLLM's own unless the process is shared."""
        await asyncio.sleep(0)  # LiteLLM logs the last call in a separate task
        self._anthropic = None
        if not self._shared_process:
            await self.module.close_litellm_async_clients()
            self.module.in_memory_llm_clients_cache.flush_cache()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _shared_session(self) -> Any:  # noqa: ANN401 - aiohttp's own
        if self._session is None:
            import aiohttp

            tracing = aiohttp.TraceConfig()
            tracing.on_request_start.append(record_request_start)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[tracing]
            )
        return self._session

    def _anthropic_client(self) -> Any:  # noqa: ANN401 - LiteLLM's own
        """Return a client on flowai's connections: LiteLLM never closes its own of Anthropic's streams."""
        if self._anthropic is None:
            from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

            self._anthropic = AsyncHTTPHandler(timeout=NO_TIMEOUT_S, shared_session=self._shared_session())
        return self._anthropic

    def _is_streamed(self, endpoint: Endpoint) -> bool:
        provider = self._provider(endpoint)
        return provider in _STREAMED_PROVIDERS or provider in self.module.openai_compatible_providers

    def _provider(self, endpoint: Endpoint) -> str | None:
        """Return LiteLLM's name of the provider; None for an unknown one, which the call reports."""
        import openai

        try:
            _, provider, _, _ = self.module.get_llm_provider(model=endpoint.model, api_base=endpoint.api_base)
        except openai.OpenAIError:
            return None
        return str(provider)


def token_counts(usage: Any) -> tuple[int | None, int | None]:  # noqa: ANN401 - LiteLLM's own
    """Return input and output tokens; None for both if LiteLLM has zeros, its value for an unreported usage."""
    if usage is None or not usage.total_tokens:
        return None, None
    return usage.prompt_tokens, usage.completion_tokens or 0


def cost_usd(answer: Any, endpoint: Endpoint, input_tokens: int | None) -> float | None:  # noqa: ANN401 - LiteLLM's
    """Return the cost that LiteLLM computed; None without a price or without reported tokens."""
    if endpoint.provider == LOCAL_PROVIDER:
        return 0.0
    if input_tokens is None:
        return None
    cost = answer._hidden_params.get("response_cost")  # noqa: SLF001 - where LiteLLM documents it
    return None if cost is None else float(cost)
