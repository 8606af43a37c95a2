"""Shows what the installed LiteLLM sends for a call, without sending it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    import httpx

LOOPBACK = "http://127.0.0.1:9/v1"
KEY = "probe-key"
MAX_S = 300.0
_USUAL_HEADERS = frozenset({"accept", "accept-encoding", "connection", "content-length", "host", "user-agent"})


class SentRequest(NamedTuple):
    """A request that LiteLLM would send."""

    url: str
    headers: dict[str, str]
    """Without those of every HTTP client, and those that describe OpenAI's."""
    body: Any


class _Sent(BaseException):
    """Ends a call where it would be sent; no LiteLLM code catches it."""

    def __init__(self, request: SentRequest) -> None:
        self.request = request


class _InlineExecutor(ThreadPoolExecutor):
    """Runs what is submitted at once: changing threads takes longer than LiteLLM's own work."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - as a thread would
            done.set_exception(error)
        return done


class LiteLLMProbe:
    """The installed LiteLLM without a network. Other calls of this process fail while it is used."""

    def __init__(self) -> None:
        os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS="True")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import litellm
        litellm.suppress_debug_info = True
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
        self.litellm: Any = litellm
        self._runner = asyncio.Runner()  # LiteLLM builds a new client for each event loop
        self._runner.get_loop().set_default_executor(_InlineExecutor())

    def chat(
        self, model: str, messages: list[Any], *, base: str | None = LOOPBACK, **params: Any
    ) -> SentRequest | None:
        """Return the request of a streamed chat; None if LiteLLM refuses it or sends none."""
        if params.get("tools"):
            params["_skip_mcp_handler"] = True
        arguments = {"api_key": KEY, **params, "stream": True, "stream_options": {"include_usage": True}}
        return self._sent(self.litellm.acompletion, model=model, messages=messages, api_base=base, **arguments)

    def embeddings(self, model: str, texts: list[str], *, base: str | None = LOOPBACK) -> SentRequest | None:
        """Return the request for embeddings, in numbers; None if LiteLLM refuses it or sends none."""
        return self._sent(
            self.litellm.aembedding, model=model, input=texts, encoding_format="float", api_base=base, api_key=KEY
        )

    def _sent(self, function: Any, **arguments: Any) -> SentRequest | None:
        arguments = {name: value for name, value in arguments.items() if value is not None}
        with _intercepted(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._runner.run(_limited(function(timeout=86_400.0, max_retries=0, num_retries=0, **arguments)))
            except _Sent as sent:
                return sent.request
            except Exception:  # noqa: BLE001 - whatever it raises, it has refused
                return None
        return None


async def _limited(call: Coroutine[Any, Any, object]) -> None:
    async with asyncio.timeout(MAX_S):
        await call


@contextlib.contextmanager
def _intercepted() -> Iterator[None]:
    import httpx

    async def send(_: httpx.AsyncClient, request: httpx.Request, **_more: Any) -> httpx.Response:
        content = await request.aread()
        headers = {
            name: value
            for name, value in request.headers.items()
            if name not in _USUAL_HEADERS and not name.startswith("x-stainless-")
        }
        try:
            body = json.loads(content)
        except ValueError:
            body = content
        raise _Sent(SentRequest(str(request.url), headers, body))

    before = httpx.AsyncClient.send
    httpx.AsyncClient.send = send  # type: ignore[method-assign,assignment]  # restored below
    try:
        yield
    finally:
        httpx.AsyncClient.send = before  # type: ignore[method-assign]


@contextlib.contextmanager
def variables_read() -> Iterator[list[str]]:
    """Return the names of environment variables that are read within."""
    names: list[str] = []
    mapping: Any = type(os.environ)
    before = mapping.__getitem__

    def recorded(self: Any, name: str) -> str:
        if name not in names:
            names.append(name)
        value: str = before(self, name)
        return value

    mapping.__getitem__ = recorded
    try:
        yield names
    finally:
        mapping.__getitem__ = before
