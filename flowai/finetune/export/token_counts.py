"""How many tokens a training set has, and what training on it would cost.

Tokenizers are OpenAI's, whose tables lie in LiteLLM's package; nothing is downloaded. For any other model the count is
a proxy, and says so by naming its tokenizer. Prices of training stand in no table that is installed: they are given.
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
"""Columns whose every message is an answer."""

_NON_TEXT_KEYS = frozenset({"role", "from", "type", "id"})

NonNegativeInt = Annotated[int, Meta(ge=0)]


class SplitTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one split."""

    row_count: NonNegativeInt = 0
    """Rows."""
    tokens: NonNegativeInt = 0
    """Of everything in them."""
    trained_tokens: NonNegativeInt = 0
    """Of the answers that are learned."""
    longest_tokens: NonNegativeInt = 0
    """Of the longest row."""

    def plus(self, tokens: int, trained_tokens: int) -> SplitTokens:
        """Give the totals with one more row."""
        return SplitTokens(
            row_count=self.row_count + 1,
            tokens=self.tokens + tokens,
            trained_tokens=self.trained_tokens + trained_tokens,
            longest_tokens=max(self.longest_tokens, tokens),
        )


class TokenTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a training set."""

    tokenizer: str
    """Who counted."""
    is_proxy: bool
    """Whether the model that is trained has another tokenizer."""
    splits: dict[Split, SplitTokens]
    """Totals of each split that has rows."""

    @property
    def longest_tokens(self) -> int:
        """Tokens of the longest row of all."""
        return max((split.longest_tokens for split in self.splits.values()), default=0)


class TrainingCost(msgspec.Struct, frozen=True, kw_only=True):
    """What training would cost; an estimate."""

    usd: float
    """US dollars, >= 0."""
    tokens: int
    """Tokens that are paid: those of the training split, once per epoch."""
    epoch_count: int
    """Times each row is seen, >= 1."""
    usd_per_million_tokens: float
    """The price that was given, >= 0."""


def training_cost(totals: TokenTotals, *, usd_per_million_tokens: float, epoch_count: int) -> TrainingCost:
    """Estimate the cost: providers bill every token of a training row, once per epoch.

    Source: OpenAI, "Model optimization", and Together, "Fine-tuning pricing" (which adds validation tokens).
    """
    split = totals.splits.get("train", SplitTokens())
    tokens = split.tokens * epoch_count
    return TrainingCost(
        usd=tokens * usd_per_million_tokens / 1_000_000,
        tokens=tokens,
        epoch_count=epoch_count,
        usd_per_million_tokens=usd_per_million_tokens,
    )


class TrainingTokenCounter:
    """Counts the tokens of rows as they come.

    Args:
        model: the model that will be trained; None where nobody said.
    """

    def __init__(self, model: str | None = None) -> None:
        self.tokenizer, self.is_proxy = tokenizer_of(model)
        self._encoding: tiktoken.Encoding | None = None
        self._splits: dict[Split, SplitTokens] = {}

    def add(self, split: Split, row: dict[str, Any]) -> None:
        """Count one row of any format."""
        tokens, trained = self.count(row)
        self._splits[split] = self._splits.get(split, SplitTokens()).plus(tokens, trained)

    def count(self, row: dict[str, Any]) -> tuple[int, int]:
        """Give a row's tokens, and those of its answers that are learned."""
        self._encoding = self._encoding or load_encoding(self.tokenizer)
        tokens = trained_tokens = 0
        for message, trained in _messages(row):
            count = MESSAGE_TOKENS + sum(count_text(self._encoding, text) for text in _texts(message))
            tokens += count
            trained_tokens += count if trained else 0
        return tokens, trained_tokens

    def totals(self) -> TokenTotals:
        """Give what was counted so far."""
        return TokenTotals(tokenizer=self.tokenizer, is_proxy=self.is_proxy, splits=dict(self._splits))


def tokenizer_of(model: str | None) -> tuple[str, bool]:
    """Give the installed tokenizer for a model, and whether it is a proxy for one that is not."""
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
    """Give a number that a row cannot have more tokens than: no token is shorter than a byte."""
    return sum(MESSAGE_TOKENS + sum(len(text.encode()) for text in _texts(message)) for message, _ in _messages(row))


def _messages(row: dict[str, Any]) -> list[tuple[Any, bool]]:
    """Give each message of a row, whatever its format, and whether it is learned."""
    found: list[tuple[Any, bool]] = []
    for column, value in row.items():
        if column in _ANSWERS:
            found += [(message, True) for message in (value if isinstance(value, list) else [value])]
        elif isinstance(value, dict) and isinstance(value.get("messages"), list):  # OpenAI's preferences
            found += [(message, False) for message in value["messages"]]
        elif isinstance(value, list):
            found += [(message, _is_learned(message, last=message is value[-1], column=column)) for message in value]
        else:
            found.append((value, False))
    return found


def _is_learned(message: Any, *, last: bool, column: str) -> bool:  # noqa: ANN401 - a message of any file
    """Say whether a message is learned: what it says of itself, else each answer; in LLaMA-Factory's rows the last."""
    if not isinstance(message, dict) or column == "prompt":
        return False
    said = message.get("training", message.get("weight"))
    if said is not None:
        return bool(said)
    return message.get("role") == "assistant" or (last and message.get("from") in ("gpt", "function_call"))


def _texts(value: Any) -> list[str]:  # noqa: ANN401 - JSON is anything
    """Give every text a consumer would write out, the names of roles left aside."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        return [
            text for key, item in value.items() if key not in {"role", "from", "type", "id"} for text in _texts(item)
        ]
    return []
