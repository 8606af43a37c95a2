"""The sole door to LiteLLM: imports it late and quietly, spells its arguments, reads its objects.

In: endpoints and requests. Out: keyword arguments for LiteLLM, and figures from its answers. Must never know what a
failure means.

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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from flowai.calls.client import Endpoint, Request

# Our own limits end a call. LiteLLM keeps one HTTP client per time limit, so this must always be the same number.
NEVER_S = 86_400.0
# OpenAI's client insists on a key, and would take the one from the environment to a foreign address.
NO_KEY = "none"
LOCAL = "local"  # provider of models on this machine: they cost nothing and are reached without a proxy

_QUIET_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",
    # it ends a stream after 100 equal chunks as a provider's failure; a model that loops is an answer, a bad one
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000",
}


async def load(*, shared_process: bool) -> Library:
    """Import LiteLLM (about 2 s of CPU, once per process) and let it do what it puts off until its first call.

    Args:
        shared_process: whether code other than flowai's may use LiteLLM in this process.

    Returns:
        The door; nothing was sent anywhere.
    """
    first = "litellm" not in sys.modules
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
    litellm.suppress_debug_info = True
    if first:
        gc.collect()
        gc.freeze()
        litellm.disable_token_counter = not shared_process
        if "LITELLM_LOG" not in os.environ:
            logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    library = Library(litellm)
    await library.warm_up(stream=False)
    return library


class _NoRetries(int):
    """Zero, but true: LiteLLM's embeddings read `max_retries or 2`, and would ask three times."""

    def __bool__(self) -> bool:
        return True


class Library:
    """LiteLLM, loaded; used within one event loop.

    Args:
        module: LiteLLM itself.
    """

    def __init__(self, module: ModuleType) -> None:
        import httpx
        import openai

        self.module = module
        self.failures = (openai.OpenAIError, httpx.HTTPError, json.JSONDecodeError, OSError)
        """What a failed call raises; all of LiteLLM's exceptions are OpenAI's. Anything else is a bug."""
        self._warm: set[bool] = set()
        self._session: Any = None
        self._direct: dict[tuple[str, str], Any] = {}

    async def warm_up(self, *, stream: bool) -> None:
        """Make a call that LiteLLM answers by itself, once: its first takes 0.3 s more than others."""
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

    def arguments(self, request: Request) -> dict[str, Any]:
        """Spell a chat request; what we set wins over a parameter of the same name."""
        arguments = {**request.params, **self.address(request.endpoint), "messages": list(request.messages)}
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
            "timeout": NEVER_S,
            "max_retries": _NoRetries(),
            "num_retries": 0,
            "shared_session": self._shared_session(),
        }
        if endpoint.api_base is not None:
            arguments["api_base"] = endpoint.api_base
            arguments["api_key"] = endpoint.api_key or NO_KEY
            if endpoint.provider == LOCAL:
                arguments["client"] = self._direct_client(endpoint.api_base, endpoint.api_key or NO_KEY)
        elif endpoint.api_key is not None:
            arguments["api_key"] = endpoint.api_key
        return arguments

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
        """Close our connections; those of providers that are not OpenAI-compatible belong to LiteLLM."""
        await asyncio.sleep(0)  # LiteLLM's bookkeeping of the last call runs as a task of its own
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        while self._direct:
            _, client = self._direct.popitem()
            await client.close()

    def _shared_session(self) -> Any:  # noqa: ANN401 - aiohttp's own
        """Give the connections of our calls, so that it is us who close them."""
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self._session

    def _direct_client(self, api_base: str, api_key: str) -> Any:  # noqa: ANN401 - OpenAI's own
        """Give a client that goes around HTTP_PROXY: LiteLLM would send even loopback traffic through it."""
        client = self._direct.get((api_base, api_key))
        if client is None:
            import httpx
            import openai

            client = openai.AsyncOpenAI(
                base_url=api_base,
                api_key=api_key,
                max_retries=0,
                timeout=NEVER_S,
                http_client=httpx.AsyncClient(trust_env=False, timeout=NEVER_S),
            )
            self._direct[api_base, api_key] = client
        return client


class StreamDraft:
    """A streamed answer as far as it has come."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.began = False
        self.ttft_ms: float | None = None
        self.finish_reason: str | None = None
        self.served_model: str | None = None
        self.usage: Any = None
        self._source: Any = None

    def follow(self, source: Any) -> None:  # noqa: ANN401 - LiteLLM's own
        """Note the stream the pieces come from."""
        self._source = source

    def add(self, piece: Any) -> str:  # noqa: ANN401 - LiteLLM's own
        """Take one piece in; give the text it adds, which may be empty."""
        self.usage = getattr(piece, "usage", None) or self.usage
        self.served_model = piece.model or self.served_model
        if not piece.choices:
            return ""
        choice = piece.choices[0]
        self.finish_reason = choice.finish_reason or self.finish_reason
        delta = choice.delta
        text = delta.content or ""
        # reasoning and tool calls are signs of life, though no text
        self.began = self.began or bool(text or getattr(delta, "reasoning_content", None) or delta.tool_calls)
        self.texts.append(text)
        return text

    @property
    def is_finished(self) -> bool:
        """Whether the provider gave a finish reason. LiteLLM puts `stop` where a stream merely ended."""
        source = self._source
        if hasattr(source, "received_finish_reason"):
            return bool(source.received_finish_reason or source.intermittent_finish_reason)
        return self.finish_reason is not None


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
