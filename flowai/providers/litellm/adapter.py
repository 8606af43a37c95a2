"""The sole door to LiteLLM: imports it late and quietly, spells its arguments, reads its objects.

LiteLLM offers no way to say these things per call, so they hold for the whole process from the first call on:
- four environment variables, unless they are set: its price table and its table of Anthropic headers come from its
  own package instead of the network, it does not read `.env` by itself (flowai does that, by its own rules), and it
  does not end a stream because a model repeats itself;
- it prints no help texts (`suppress_debug_info`);
- where flowai brought it into the process: its log is silenced, unless `LITELLM_LOG` asks for it, and what its import
  leaves behind is moved out of the garbage collector's sight (`gc.freeze`), which saves a tenth of a run's CPU;
- where, besides, nobody else uses it: its token counter is off, which only guesses and takes 40 MB.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextvars import ContextVar
    from types import ModuleType

    from flowai.providers.client import Endpoint, Request

# Our own limits end a call. LiteLLM keeps one HTTP client per time limit, so this must always be the same number.
NO_TIMEOUT_S = 86_400.0
# OpenAI's client insists on a key, and would take the one from the environment to a foreign address.
NO_KEY = "none"
LOCAL = "local"  # provider of models on this machine: they cost nothing and are reached without a proxy
# Providers that speak OpenAI's protocol and are yet called by a handler of their own, or sign in in a way of their own.
_WITH_THEIR_OWN_HANDLER = frozenset(
    {
        "azure_ai",
        "chatgpt",
        "clarifai",
        "cometapi",
        "deepseek",
        "edenai",
        "fireworks_ai",
        "github_copilot",
        "groq",
        "hosted_vllm",
        "ragflow",
        "together_ai",
        "xai",
    }
)

# Other providers whose streams LiteLLM reads to the end: finish reason and figures. It does not so with all (Cohere's).
_READ_BY_LITELLM = frozenset(
    {
        "anthropic",
        "azure",
        "azure_ai",
        "deepseek",
        "fireworks_ai",
        "gemini",
        "groq",
        "hosted_vllm",
        "mistral",
        "openrouter",
        "together_ai",
        "vertex_ai",
        "xai",
    }
)

# Who LiteLLM tells of calls. Set by whoever uses it in this process; empty as it comes.
CALLBACK_LISTS = (
    "callbacks",
    "success_callback",
    "failure_callback",
    "_async_success_callback",
    "_async_failure_callback",
)

_QUIET_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",
    # it ends a stream after 100 equal chunks as a provider's failure; a model that loops is an answer, a bad one
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000",
}


async def load(*, shared_process: bool) -> LiteLLMAdapter:
    """Import LiteLLM (about 2 s of CPU, once per process) and let it do what it puts off until its first call.

    Args:
        shared_process: whether code other than flowai's may use LiteLLM in this process.

    Returns:
        The door; nothing was sent anywhere.
    """
    module: Any = sys.modules.get("litellm")
    if module is None:  # on a thread of its own: meanwhile a server goes on saying that it is alive
        module = await asyncio.to_thread(_import, shared_process=shared_process)
    module.suppress_debug_info = True
    library = LiteLLMAdapter(module, shared_process=shared_process)
    await library.warm_up(stream=False)
    return library


def _import(*, shared_process: bool) -> ModuleType:
    """Bring LiteLLM into the process, quietly."""
    for name, value in _QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    collecting = gc.isenabled()
    gc.disable()  # a million objects are made, and none is garbage
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pydantic's internals, nothing a user of ours could act on
            import litellm
            import openai.resources  # noqa: F401 - openai puts this off until the first call, which is timed
    finally:
        if collecting:
            gc.enable()
    gc.collect()
    gc.freeze()
    litellm.disable_token_counter = not shared_process
    if "LITELLM_LOG" not in os.environ:
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    return litellm


class _NoRetries(int):
    """Zero, but true: LiteLLM's embeddings read `max_retries or 2`, and would ask three times."""

    def __bool__(self) -> bool:
        return True


class LiteLLMAdapter:
    """LiteLLM, loaded; used within one event loop.

    Args:
        module: LiteLLM itself.
        shared_process: whether code other than flowai's may use LiteLLM in this process.
    """

    def __init__(self, module: ModuleType, *, shared_process: bool) -> None:
        import httpx
        import openai

        self.module = module
        self._internal_call_flag: ContextVar[bool] | None = _internal_call_flag()
        self.failures = (openai.OpenAIError, httpx.HTTPError, json.JSONDecodeError, OSError)
        """What a failed call raises; all of LiteLLM's exceptions are OpenAI's. Anything else is a bug."""
        self._shared_process = shared_process
        self._warm: set[bool] = set()
        self._session: Any = None
        self._http: dict[bool, Any] = {}  # by whether it goes around proxies
        self._anthropic: Any = None
        self._clients: dict[tuple[str, str | None, str | None], Any] = {}

    async def warm_up(self, *, stream: bool) -> None:
        """Make a call that LiteLLM answers by itself, once: its first takes 0.3 s more than others.

        Args:
            stream: whether LiteLLM itself is to read a stream, as it does for providers with a protocol of their own.
        """
        if stream in self._warm:
            return
        self._warm.add(stream)
        with warnings.catch_warnings(), self.without_logging():
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

    def arguments(self, request: Request) -> dict[str, Any]:
        """Spell a chat request; what we set wins over a parameter of the same name."""
        arguments = {**request.params, **self.address(request.endpoint), "messages": list(request.messages)}
        for name in ("stream", "stream_options"):
            arguments.pop(name, None)  # how an answer travels is ours to say
        if arguments.get("tools"):  # or LiteLLM looks for MCP servers among them, with a package it does not bring
            arguments["_skip_mcp_handler"] = True
        if request.response_format is not None:
            arguments["response_format"] = request.response_format
        if request.response_schema is not None:
            arguments["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": "answer",
                    "schema": request.response_schema,
                    "strict": is_strict(request.response_schema),
                },
            }
        return arguments

    def address(self, endpoint: Endpoint) -> dict[str, Any]:
        """Spell whom to ask, and that LiteLLM shall neither retry nor give up by itself."""
        arguments: dict[str, Any] = {
            "model": endpoint.model,
            "timeout": NO_TIMEOUT_S,
            "max_retries": _NoRetries(),
            "num_retries": 0,
            "shared_session": self._shared_session(),
        }
        if endpoint.api_base is not None:
            arguments["api_base"] = endpoint.api_base
            arguments["api_key"] = endpoint.api_key or NO_KEY
        elif endpoint.api_key is not None:
            arguments["api_key"] = endpoint.api_key
        client = self.openai_client(endpoint)
        if client is None and endpoint.model.startswith("anthropic/"):
            client = self._anthropic_client()
        if client is not None:
            arguments["client"] = client
        return arguments

    @contextmanager
    def without_logging(self) -> Iterator[None]:
        """Spare LiteLLM the record it makes of each call, where nobody listens: a seventh of a call's CPU.

        LiteLLM has no public way to say so. Where its own is gone, or somebody has set a callback, the record is made.
        """
        if self._internal_call_flag is None or any(getattr(self.module, name, None) for name in CALLBACK_LISTS):
            yield
            return
        token = self._internal_call_flag.set(True)
        try:
            yield
        finally:
            self._internal_call_flag.reset(token)

    def uses_native_stream(self, endpoint: Endpoint) -> bool:
        """Tell whether LiteLLM itself is to read an endpoint's streams: where we cannot, and it can."""
        return self.openai_client(endpoint) is None and endpoint.model.partition("/")[0] in _READ_BY_LITELLM

    def openai_client(self, endpoint: Endpoint) -> Any:  # noqa: ANN401 - OpenAI's own
        """Give the OpenAI client, on connections of ours, that LiteLLM is to call an endpoint with.

        Returns:
            The client; None for a provider that LiteLLM calls in another way, and where no key is known.
        """
        whom = (endpoint.model, endpoint.api_base, endpoint.api_key)
        if whom not in self._clients:
            self._clients[whom] = self._new_openai_client(endpoint)
        return self._clients[whom]

    def stream_cost_usd(self, endpoint: Endpoint, usage: Any) -> float | None:  # noqa: ANN401 - LiteLLM's own
        """Price a streamed answer, which LiteLLM itself prices after we have left."""
        if endpoint.provider == LOCAL:
            return 0.0
        try:
            parts = self.module.cost_per_token(model=endpoint.model, usage_object=usage)
        except self.module.exceptions.ModelNotMappedError:
            return None
        return float(sum(parts))

    async def aclose(self) -> None:
        """Close our connections; LiteLLM keeps those it made itself, unless we alone use it."""
        await asyncio.sleep(0)  # LiteLLM's bookkeeping of the last call runs as a task of its own
        self._clients.clear()
        self._anthropic = None
        while self._http:
            _, http = self._http.popitem()
            await http.aclose()
        if not self._shared_process:
            await self.module.close_litellm_async_clients()
            self.module.in_memory_llm_clients_cache.flush_cache()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _shared_session(self) -> Any:  # noqa: ANN401 - aiohttp's own
        """Give the connections of our calls, so that it is us who close them."""
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    def _new_openai_client(self, endpoint: Endpoint) -> Any:  # noqa: ANN401 - OpenAI's own
        import openai
        from litellm.llms.openai.common_utils import get_openai_credentials

        api_base, api_key = endpoint.api_base, endpoint.api_key
        try:
            _, provider, its_key, its_base = self.module.get_llm_provider(
                model=endpoint.model, api_base=api_base, api_key=api_key
            )
        except openai.OpenAIError:
            return None  # no such provider, which the call itself will say
        if provider not in {"openai", "custom_openai"} and not (
            provider in self.module.openai_compatible_providers and provider not in _WITH_THEIR_OWN_HANDLER
        ):
            return None
        if api_base is not None:
            api_key = api_key or NO_KEY
        else:
            found = get_openai_credentials(api_base=its_base, api_key=its_key or api_key)
            api_base, api_key = found.api_base, found.api_key
        if not api_key:
            return None
        return openai.AsyncOpenAI(
            base_url=api_base,
            api_key=api_key,
            max_retries=0,
            timeout=NO_TIMEOUT_S,
            http_client=self._http_client(direct=endpoint.provider == LOCAL),
        )

    def _anthropic_client(self) -> Any:  # noqa: ANN401 - LiteLLM's own
        """Give a client on our connections: of Anthropic's streams LiteLLM would never close its own."""
        if self._anthropic is None:
            from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

            self._anthropic = AsyncHTTPHandler(timeout=NO_TIMEOUT_S, shared_session=self._shared_session())
        return self._anthropic

    def _http_client(self, *, direct: bool) -> Any:  # noqa: ANN401 - httpx's own
        """Give connections we listen to; direct ones know no proxy, which LiteLLM would use even for loopback."""
        if direct not in self._http:
            import httpx
            from litellm.llms.custom_httpx.http_handler import get_ssl_configuration

            from flowai.providers.openai.transport import ChatTransport

            tls = get_ssl_configuration()
            transport = ChatTransport(self._shared_session(), tls=True if isinstance(tls, str) else tls, direct=direct)
            self._http[direct] = httpx.AsyncClient(
                transport=transport, timeout=NO_TIMEOUT_S, follow_redirects=True, trust_env=False
            )
        return self._http[direct]


def _internal_call_flag() -> ContextVar[bool] | None:
    try:
        from litellm import _internal_context
    except ImportError:
        return None
    return getattr(_internal_context, "is_internal_call", None)


def is_strict(schema: Any) -> bool:  # noqa: ANN401 - JSON is anything
    """Tell whether a schema keeps the rules of OpenAI's strict mode: closed objects whose properties are all required.

    Source:
        OpenAI, "Structured Outputs", section "Supported schemas".
    """
    if isinstance(schema, list):
        return all(is_strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        names = schema.get("properties", {})
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("required", ())) != set(names):
            return False
    return all(is_strict(value) for value in schema.values())


def token_counts(usage: Any) -> tuple[int | None, int | None]:  # noqa: ANN401 - LiteLLM's own
    """Give input and output tokens; None twice where LiteLLM puts zeros for a usage that was not reported."""
    if usage is None or not usage.total_tokens:
        return None, None
    return usage.prompt_tokens, usage.completion_tokens or 0


def cost_usd(answer: Any, endpoint: Endpoint, input_tokens: int | None) -> float | None:  # noqa: ANN401 - LiteLLM's
    """Give what LiteLLM worked out for an answer; None where it knows no price or no tokens were reported."""
    if endpoint.provider == LOCAL:
        return 0.0
    if input_tokens is None:
        return None
    cost = answer._hidden_params.get("response_cost")  # noqa: SLF001 - where LiteLLM documents it
    return None if cost is None else float(cost)
