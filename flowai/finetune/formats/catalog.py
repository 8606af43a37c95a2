"""The training formats: their columns, and the rows that a pair gives.

Every row of a format has the same keys, so that a loader that knows the columns reads every file with one schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from flowai.errors import UsageError, expected_one_of
from flowai.finetune.formats.chat_template import axolotl_row, completion_row, labelled_row
from flowai.finetune.formats.chat_template import preference_row as trl_preference_row
from flowai.finetune.formats.conversation import (
    FormatViolation,
    FormatViolationError,
    check_has_user_turn,
    check_system_turn_first,
    checked_text,
    parse_conversation,
)
from flowai.finetune.formats.openai import chat_row
from flowai.finetune.formats.openai import preference_row as openai_preference_row
from flowai.finetune.formats.sharegpt import sharegpt_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.finetune.formats.conversation import Turn
    from flowai.finetune.records import Pair

FormatName = Literal["openai", "openai-dpo", "trl", "trl-dpo", "kto", "axolotl", "llamafactory"]
FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)

TrainingRow = dict[str, Any]
Rows = tuple[TrainingRow, ...]

Column = Literal["messages", "turns", "object", "text", "flag"]
"""Content of a column: `messages`: a list of JSON objects. `turns`: a list of objects with the texts `from` and
`value`. `object`: one JSON object. `text`, `flag`: a string, a boolean."""


TurnReader = Callable[["Pair"], "tuple[Turn, ...]"]


@dataclass(frozen=True, slots=True)
class Format:
    """A training format."""

    name: FormatName
    columns: Mapping[str, Column]
    """Keys in order, with their content."""
    build: Callable[[Pair], Rows]
    """Builds the rows of a pair, at least one; raises FormatViolationError."""

    def rows(self, pair: Pair) -> Rows | FormatViolation:
        """Return the rows of a pair, or why the format cannot represent it."""
        try:
            return self.build(pair)
        except FormatViolationError as error:
            return error.violation


def find_format(name: str) -> Format:
    """Return a format by its name; raises UsageError for an unknown one."""
    for known in FORMAT_NAMES:
        if known == name:
            return FORMATS[known]
    raise UsageError(f"--format: found `{name}`", hint=expected_one_of(FORMAT_NAMES, found=name))


def encode_row(row: TrainingRow) -> bytes:
    """Encode a row as its line; equal rows give equal bytes.

    Characters that some readers treat as line ends (U+0085, U+2028, U+2029) are escaped.
    """
    line = msgspec.json.encode(row)
    for raw, escaped in _LINE_ENDS:
        line = line.replace(raw, escaped)
    return line + b"\n"


_LINE_ENDS = tuple((chr(code).encode(), b"\\u%04x" % code) for code in (0x85, 0x2028, 0x2029))


def _sft_rows(read: TurnReader, write: Callable[[tuple[Turn, ...], str], TrainingRow]) -> Callable[[Pair], Rows]:
    """Return a function that builds the row of a request and the answer to learn."""
    return lambda pair: (write(read(pair), _answer(pair)),)


def _preference_rows(
    read: TurnReader, write: Callable[[tuple[Turn, ...], str, str], TrainingRow]
) -> Callable[[Pair], Rows]:
    """Return a function that builds the row of a request, a better and a worse answer."""
    return lambda pair: (write(read(pair), *_better_and_worse(pair)),)


def _kto_rows(pair: Pair) -> Rows:
    """Build a row per answer with its label; an edited pair gives two: the edit is good, the model's answer is not."""
    request = _for_chat_template(pair)
    if pair.opinion == "edited":
        better, worse = _better_and_worse(pair)
        return labelled_row(request, better, good=True), labelled_row(request, worse, good=False)
    return (labelled_row(request, checked_text(pair.output, "output"), good=pair.opinion == "accepted"),)


def _for_chat_template(pair: Pair) -> tuple[Turn, ...]:
    """Return the request for a chat template: at most one system message, at the top, and a user's or tool's turn."""
    request = parse_conversation(pair)
    check_system_turn_first(request)
    check_has_user_turn(request)
    return request


def _answer(pair: Pair) -> str:
    if pair.opinion == "rejected":
        raise FormatViolationError("answer/rejected", "a rejected answer cannot be imitated; use `kto`")
    return checked_text(pair.answer, "edit" if pair.opinion == "edited" else "output")


def _better_and_worse(pair: Pair) -> tuple[str, str]:
    if pair.opinion != "edited":
        raise FormatViolationError("answer/no_edit", "only an edit shows which of two answers is better")
    better, worse = checked_text(pair.edit, "edit"), checked_text(pair.output, "output")
    if better.strip() == worse.strip():
        raise FormatViolationError("preference/same", "the edit changes only white space")
    return better, worse


_ALL = (
    Format("openai", {"messages": "messages"}, _sft_rows(parse_conversation, chat_row)),
    Format(
        "openai-dpo",
        {"input": "object", "preferred_output": "messages", "non_preferred_output": "messages"},
        _preference_rows(parse_conversation, openai_preference_row),
    ),
    Format("trl", {"prompt": "messages", "completion": "messages"}, _sft_rows(_for_chat_template, completion_row)),
    Format(
        "trl-dpo",
        {"prompt": "messages", "chosen": "messages", "rejected": "messages"},
        _preference_rows(_for_chat_template, trl_preference_row),
    ),
    Format("kto", {"prompt": "messages", "completion": "messages", "label": "flag"}, _kto_rows),
    Format("axolotl", {"messages": "messages"}, _sft_rows(_for_chat_template, axolotl_row)),
    Format("llamafactory", {"conversations": "turns", "system": "text"}, _sft_rows(_for_chat_template, sharegpt_row)),
)

FORMATS: dict[FormatName, Format] = {format_.name: format_ for format_ in _ALL}
