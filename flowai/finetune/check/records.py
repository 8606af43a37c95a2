"""Rules and report of `flowai finetune check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from flowai.finetune.formats.catalog import FormatName

SCHEMA_VERSION = 1

Level = Literal["error", "warning"]
"""`error`: a consumer refuses the row, or trains on nothing or on the wrong text. `warning`: worth a look."""

ERRORS: dict[str, str] = {
    # the file
    "file/empty": "the file has no rows",
    "file/binary": "not text: an archive, Parquet, or other binary data",
    "file/encoding": "UTF-16 or UTF-32; every consumer reads UTF-8",
    "file/array": "a JSON array in a file that is uploaded or too large to read at once; write one object per line",
    "file/format": "no row has the keys of a known format",
    # lines
    "line/bom": "begins with a byte-order mark, which JSON does not allow",
    "line/blank": "an empty line between rows or at the end, in a file that is uploaded",
    "line/too_long": "a line of more than 64 MB",
    "line/not_utf8": "bytes that are not UTF-8",
    # JSON
    "json/syntax": "not JSON",
    "json/trailing": "something follows the object",
    "json/nan": "NaN or Infinity, which JSON does not have",
    "json/duplicate_key": "a key is there twice; readers keep one of the two",
    "json/huge_number": "a number that does not fit 64 bits",
    "json/surrogate": "half of a character, which cannot be written as UTF-8",
    "json/too_deep": "nested more than 64 levels deep",
    # rows
    "row/not_object": "the line is not a JSON object",
    "row/missing_key": "a key that the format needs is missing",
    "row/unknown_key": "a key that the consumer refuses",
    "row/key_type": "a value of the wrong type",
    "row/type_changes": "a key has another type than in the rows before; a loader has one schema for a file",
    "row/other_format": "a row of another format than the rest of the file",
    # messages
    "messages/empty": "no messages",
    "message/type": "a message that is not an object",
    "message/unknown_key": "a key that the consumer refuses in a message",
    "role/missing": "a message without a role",
    "role/type": "a role that is not a text",
    "role/unknown": "a role that the format does not have",
    "content/missing": "a message without content",
    "content/null": "content is null",
    "content/type": "content is neither a text nor a list of parts",
    "content/part": "a part that the format does not have, or without its text",
    "content/empty": "an empty text; there is nothing to learn or to answer",
    # order
    "roles/system": "a system message that is not the first",
    "roles/order": "roles are not in the order that the format requires",
    "roles/last": "the row does not end with an answer",
    "roles/no_request": "no user's message",
    "roles/no_answer": "no answer to learn",
    # what is trained
    "weight/value": "a weight other than 0 or 1",
    "weight/role": "a weight on a message that is not an answer",
    "training/type": "`training` is neither true nor false",
    "trained/none": "no token of the row would be trained",
    # tools
    "tools/calls": "tool calls that are not a list of at least one",
    "tools/call": "a tool call without id, type, function or name",
    "tools/arguments": "arguments that are not a JSON object, or not written as the format requires",
    "tools/duplicate_id": "two calls with one id",
    "tools/without_call": "a tool's answer to no call",
    "tools/unanswered": "a call without an answer before the next message",
    "tools/definition": "a tool definition without a name, or not a list of them",
    # preferences and labels
    "output/count": "not exactly one message",
    "output/role": "an output that is not an assistant's message",
    "preference/same": "the better and the worse answer are the same",
    "preference/prompt": "the two conversations begin differently",
    "label/type": "the label is neither true nor false",
    "history/pairs": "a history that is not a list of question and answer",
    # size
    "tokens/over_limit": "more tokens than `--max-tokens`",
}
"""Rules that make a row broken, with their meanings."""

WARNINGS: dict[str, str] = {
    "file/few_rows": "fewer than 10 rows; OpenAI requires at least 10",
    "file/large": "more than 512 MB; OpenAI accepts less",
    "file/one_label": "all labels are equal; KTO learns from the difference",
    "line/crlf": "Windows line ends",
    "roles/repeated": "two messages in a row of one role; some chat templates, and Together, refuse them",
    "roles/together": "tool calls or names of tools; OpenAI accepts them, Together's file check does not",
    "tools/undeclared": "a call of a function that `tools` does not define",
    "text/control_character": "a control character in a text: binary data?",
    "text/control_token": "a control token of a chat template in a text: it may end a turn too early",
    "text/secret": "a text that looks like a secret key",
}
"""Rules that only warn."""

RULES: dict[str, str] = {**ERRORS, **WARNINGS}

NonNegativeInt = Annotated[int, Meta(ge=0)]


def level_of(rule: str) -> Level:
    """Return the level of a rule."""
    return "error" if rule in ERRORS else "warning"


@dataclass(frozen=True, slots=True)
class ProblemMatch:
    """A broken rule within a row."""

    rule: str
    key: str = ""
    """Path of the value (`messages[2].content`); empty for the row itself."""
    problem: str = ""
    """Found and expected; never a text of the file, beyond a short name of a role or key."""


class RowProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A broken rule with its position."""

    line: NonNegativeInt
    """Line in the file, from 1; 0 for the file itself."""
    rule: str
    level: Level
    key: str = ""
    problem: str = ""


class RuleCount(msgspec.Struct, frozen=True, kw_only=True):
    """Count of one broken rule."""

    rule: str
    level: Level
    count: NonNegativeInt
    """A row may break a rule more than once."""
    first_line: NonNegativeInt
    """First line that breaks it; 0 for the file itself."""
    meaning: str


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a check."""

    schema_version: int = SCHEMA_VERSION
    file: str
    format: FormatName | None
    """None if it could not be detected."""
    format_source: Literal["option", "detected"]
    """`option` of the command line, or `detected` from the rows' keys."""
    file_bytes: NonNegativeInt
    row_count: NonNegativeInt
    """Lines that are not blank."""
    broken_row_count: NonNegativeInt
    """Rows with at least one error."""
    warned_row_count: NonNegativeInt
    """Rows with warnings only."""
    rules: tuple[RuleCount, ...]
    """Broken rules, errors first, then the most frequent."""
    problems: tuple[RowProblem, ...]
    """The first errors and the first warnings, by line."""
    tokenizer: str | None = None
    """None without a token limit."""
    tokenizer_is_proxy: bool = False
    """Whether the model to train has another tokenizer."""

    @property
    def error_count(self) -> int:
        """Broken rules that are errors, of rows and of the file."""
        return sum(rule.count for rule in self.rules if rule.level == "error")

    @property
    def problem_count(self) -> int:
        """Errors and warnings; may be more than the listed `problems`."""
        return sum(rule.count for rule in self.rules)
