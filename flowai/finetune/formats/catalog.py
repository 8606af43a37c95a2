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
    check_has_user_turn,
    check_system_turn_first,
    check_text,
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


TurnReader = Callable[["Pair"], "tuple[Turn, ...] | FormatViolation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """A training format."""

    name: FormatName
    title: str
    columns: Mapping[str, Column]
    """Keys in order, with their content."""
    rows: Callable[[Pair], Rows | FormatViolation]
    """Builds the rows of a pair, at least one, or returns why the format cannot represent it."""


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
        if raw in line:
            line = line.replace(raw, escaped)
    return line + b"\n"


_LINE_ENDS = tuple((chr(code).encode(), b"\\u%04x" % code) for code in (0x85, 0x2028, 0x2029))


def _sft_rows(
    read: TurnReader, write: Callable[[tuple[Turn, ...], str], TrainingRow | FormatViolation]
) -> Callable[[Pair], Rows | FormatViolation]:
    """Return a function that builds the row of a request and the answer to learn."""

    def rows(pair: Pair) -> Rows | FormatViolation:
        request, answer = read(pair), _answer(pair)
        if isinstance(request, FormatViolation):
            return request
        row = answer if isinstance(answer, FormatViolation) else write(request, answer)
        return row if isinstance(row, FormatViolation) else (row,)

    return rows


def _preference_rows(
    read: TurnReader, write: Callable[[tuple[Turn, ...], str, str], TrainingRow]
) -> Callable[[Pair], Rows | FormatViolation]:
    """Return a function that builds the row of a request, a better and a worse answer."""

    def rows(pair: Pair) -> Rows | FormatViolation:
        request, answers = read(pair), _better_and_worse(pair)
        if isinstance(request, FormatViolation):
            return request
        return answers if isinstance(answers, FormatViolation) else (write(request, *answers),)

    return rows


def _kto_rows(pair: Pair) -> Rows | FormatViolation:
    """Build a row per answer with its label; an edited pair gives two: the edit is good, the model's answer is not."""
    request = _for_chat_template(pair)
    if isinstance(request, FormatViolation):
        return request
    if pair.opinion == "edited":
        answers = _better_and_worse(pair)
        if isinstance(answers, FormatViolation):
            return answers
        better, worse = answers
        return labelled_row(request, better, good=True), labelled_row(request, worse, good=False)
    output = check_text(pair.output, "output")
    if isinstance(output, FormatViolation):
        return output
    return (labelled_row(request, output, good=pair.opinion == "accepted"),)


def _for_chat_template(pair: Pair) -> tuple[Turn, ...] | FormatViolation:
    """Return the request for a chat template: at most one system message, at the top, and a user's or tool's turn."""
    request = parse_conversation(pair)
    if isinstance(request, FormatViolation):
        return request
    return check_system_turn_first(request) or check_has_user_turn(request) or request


def _answer(pair: Pair) -> str | FormatViolation:
    if pair.opinion == "rejected":
        return FormatViolation(rule="answer/rejected", detail="a rejected answer cannot be imitated; use `kto`")
    return check_text(pair.answer, "edit" if pair.opinion == "edited" else "output")


def _better_and_worse(pair: Pair) -> tuple[str, str] | FormatViolation:
    if pair.opinion != "edited":
        return FormatViolation(rule="answer/no_edit", detail="only an edit shows which of two answers is better")
    better, worse = check_text(pair.edit, "edit"), check_text(pair.output, "output")
    if isinstance(better, FormatViolation):
        return better
    if isinstance(worse, FormatViolation):
        return worse
    if better.strip() == worse.strip():
        return FormatViolation(rule="preference/same", detail="the edit changes only white space")
    return better, worse


_ALL = (
    Format(
        name="openai",
        title="OpenAI, Together: supervised",
        columns={"messages": "messages"},
        rows=_sft_rows(parse_conversation, chat_row),
    ),
    Format(
        name="openai-dpo",
        title="OpenAI, Together: preferences",
        columns={"input": "object", "preferred_output": "messages", "non_preferred_output": "messages"},
        rows=_preference_rows(parse_conversation, openai_preference_row),
    ),
    Format(
        name="trl",
        title="TRL: supervised",
        columns={"prompt": "messages", "completion": "messages"},
        rows=_sft_rows(_for_chat_template, completion_row),
    ),
    Format(
        name="trl-dpo",
        title="TRL: preferences",
        columns={"prompt": "messages", "chosen": "messages", "rejected": "messages"},
        rows=_preference_rows(_for_chat_template, trl_preference_row),
    ),
    Format(
        name="kto",
        title="TRL: good and bad answers",
        columns={"prompt": "messages", "completion": "messages", "label": "flag"},
        rows=_kto_rows,
    ),
    Format(
        name="axolotl",
        title="Axolotl: supervised",
        columns={"messages": "messages"},
        rows=_sft_rows(_for_chat_template, axolotl_row),
    ),
    Format(
        name="llamafactory",
        title="LLaMA-Factory: supervised",
        columns={"conversations": "turns", "system": "text"},
        rows=_sft_rows(_for_chat_template, sharegpt_row),
    ),
)

FORMATS: dict[FormatName, Format] = {format_.name: format_ for format_ in _ALL}
