"""Counts the tokens of a request before the call, without importing LiteLLM.

The count is an estimate: each provider has its own tokenizer. This one is OpenAI's `o200k_base` from LiteLLM's package;
loading takes 0.3 s, so it is loaded only when a bound does not decide.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import tiktoken

    from flowai.providers.client import ChatMessage

TOKENIZER = "o200k_base"
MESSAGE_TOKENS = 4
"""Tokens that the format adds to each message. Source: OpenAI cookbook, "How to count tokens with tiktoken"."""
PIECE_CHARACTERS = 100_000
IMAGE_TOKENS = 1_000
"""Tokens assumed for an image: between OpenAI's 765 for 1024 x 1024 and 1,105 for 2048 x 4096 in high detail."""


class TokenCounter:
    """Token counter that loads its table at first use."""

    def __init__(self) -> None:
        self._encoding: tiktoken.Encoding | None = None

    def upper_bound(self, messages: Iterable[ChatMessage]) -> int:
        """Return an upper bound of the token count: each token has at least one byte."""
        return sum(
            MESSAGE_TOKENS + sum(IMAGE_TOKENS if text is None else len(text.encode()) for text in _texts(message))
            for message in messages
        )

    def count(self, messages: Iterable[ChatMessage]) -> int:
        """Count the tokens of messages."""
        encoding = self._encoding = self._encoding or load_encoding()
        return sum(
            MESSAGE_TOKENS
            + sum(IMAGE_TOKENS if text is None else count_text(encoding, text) for text in _texts(message))
            for message in messages
        )

    def exceeds(self, messages: tuple[ChatMessage, ...], limit_tokens: int) -> int | None:
        """Return the token count if it is above the limit, else None."""
        if self.upper_bound(messages) <= limit_tokens:
            return None
        counted_tokens = self.count(messages)
        return counted_tokens if counted_tokens > limit_tokens else None


def _texts(message: ChatMessage) -> Iterator[str | None]:
    """Yield the texts of a message; None for an image."""
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            text = part.get("text") if isinstance(part, dict) else None
            yield text if isinstance(text, str) else None


def count_text(encoding: tiktoken.Encoding, text: str) -> int:
    """Count the tokens of a text in pieces: tiktoken's stack overflows on half a million spaces.

    A token across the end of a piece counts as two.
    """
    pieces = (text[start : start + PIECE_CHARACTERS] for start in range(0, len(text), PIECE_CHARACTERS))
    return sum(len(encoding.encode_ordinary(piece)) for piece in pieces)


def load_encoding(name: str = TOKENIZER) -> tiktoken.Encoding:
    """Load one of OpenAI's tables from LiteLLM's package: `o200k_base`, `cl100k_base`."""
    spec = find_spec("litellm")  # finds, does not import
    if spec is not None and spec.origin is not None:  # without the table, tiktoken would download it
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"))
    import tiktoken

    return tiktoken.get_encoding(name)
