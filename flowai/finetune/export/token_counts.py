"""Token counts of training sets, and the estimated cost of training.

Tokenizers are OpenAI's, from LiteLLM's package; for other models the count is a proxy that names its tokenizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from flowai.finetune.records import Split
from flowai.providers.tokens import MESSAGE_TOKENS, TOKENIZER, count_text, load_encoding

if TYPE_CHECKING:
    import tiktoken

_KNOWN = ("o200k_base", "cl100k_base")
_ANSWERS = ("completion", "chosen", "rejected", "preferred_output", "non_preferred_output", "output")
"""Columns in which every message is an answer."""

_NON_TEXT_KEYS = frozenset({"role", "from", "type", "id"})

NonNegativeInt = Annotated[int, Meta(ge=0)]


class SplitTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one split."""

    row_count: NonNegativeInt = 0
    tokens: NonNegativeInt = 0
    trained_tokens: NonNegativeInt = 0
    """Tokens of the answers to learn."""
    longest_tokens: NonNegativeInt = 0

    def plus(self, tokens: int, trained_tokens: int) -> SplitTokens:
        """Return the totals with one more row."""
        return SplitTokens(
            row_count=self.row_count + 1,
            tokens=self.tokens + tokens,
            trained_tokens=self.trained_tokens + trained_tokens,
            longest_tokens=max(self.longest_tokens, tokens),
        )


class TokenTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a training set."""

    tokenizer: str
    is_proxy: bool
    """Whether the model to train has another tokenizer."""
    splits: dict[Split, SplitTokens]
    """Splits without rows are missing."""

    @property
    def longest_tokens(self) -> int:
        """Tokens of the longest row of all."""
        return max((split.longest_tokens for split in self.splits.values()), default=0)


def training_cost_usd(totals: TokenTotals, *, usd_per_million_tokens: float, epoch_count: int) -> float:
    """Estimate the cost: providers bill every token of a training row, once per epoch.

    Source: OpenAI, "Model optimization", and Together, "Fine-tuning pricing" (which adds validation tokens).
    """
    return totals.splits.get("train", SplitTokens()).tokens * epoch_count * usd_per_million_tokens / 1_000_000


class TrainingTokenCounter:
    """Counts the tokens of rows; with a proxy tokenizer if the model's own is not installed."""

    def __init__(self, model: str | None = None) -> None:
        self.tokenizer, self.is_proxy = tokenizer_of(model)
        self._encoding: tiktoken.Encoding | None = None
        self._splits: dict[Split, SplitTokens] = {}

    def add(self, split: Split, row: dict[str, Any]) -> None:
        """Count one row of any format."""
        tokens, trained = self.count(row)
        self._splits[split] = self._splits.get(split, SplitTokens()).plus(tokens, trained)

    def count(self, row: dict[str, Any]) -> tuple[int, int]:
        """Return the tokens of a row, and those of its answers to learn."""
        self._encoding = self._encoding or load_encoding(self.tokenizer)
        tokens = trained_tokens = 0
        for message, trained in _messages(row):
            count = MESSAGE_TOKENS + sum(count_text(self._encoding, text) for text in _texts(message))
            tokens += count
            trained_tokens += count if trained else 0
        return tokens, trained_tokens

    def totals(self) -> TokenTotals:
        """Return the totals of all rows so far."""
        return TokenTotals(tokenizer=self.tokenizer, is_proxy=self.is_proxy, splits=dict(self._splits))


def tokenizer_of(model: str | None) -> tuple[str, bool]:
    """Return the tokenizer for a model, and whether it is a proxy because the model's own is not installed."""
    if model is not None:
        from tiktoken.model import encoding_name_for_model

        try:
            name = encoding_name_for_model(model.rpartition("/")[2])
        except KeyError:
            name = ""
        if name in _KNOWN:
            return name, False
    return TOKENIZER, True


def row_bytes(row: dict[str, Any]) -> int:
    """Return an upper bound of a row's tokens: no token is shorter than a byte."""
    return sum(MESSAGE_TOKENS + sum(len(text.encode()) for text in _texts(message)) for message, _ in _messages(row))


def _messages(row: dict[str, Any]) -> list[tuple[Any, bool]]:
    """Return every message of a row of any format, and whether it is learned."""
    messages: list[tuple[Any, bool]] = []
    for column, value in row.items():
        if column in _ANSWERS:
            messages += [(message, True) for message in (value if isinstance(value, list) else [value])]
        elif isinstance(value, dict) and isinstance(value.get("messages"), list):  # OpenAI's preferences
            messages += [(message, False) for message in value["messages"]]
        elif isinstance(value, list):
            messages += [(message, _is_learned(message, last=message is value[-1], column=column)) for message in value]
        else:
            messages.append((value, False))
    return messages


def _is_learned(message: Any, *, last: bool, column: str) -> bool:  # noqa: ANN401 - a message of any file
    """Return the message's own mark, else whether it is an answer; in LLaMA-Factory's rows only the last one."""
    if not isinstance(message, dict) or column == "prompt":
        return False
    mark = message.get("training", message.get("weight"))
    if mark is not None:
        return bool(mark)
    return message.get("role") == "assistant" or (last and message.get("from") in ("gpt", "function_call"))


def _texts(value: Any) -> list[str]:  # noqa: ANN401 - JSON is anything
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        return [text for key, item in value.items() if key not in _NON_TEXT_KEYS for text in _texts(item)]
    return []
