"""Golden pairs and the rows of every format, for the tests of formats, checks and consumers."""

from __future__ import annotations

from typing import Any

from flowai.finetune.formats.catalog import FORMATS, FormatName, TrainingRow
from flowai.finetune.formats.conversation import FormatViolation
from flowai.finetune.records import Pair, UserVerdict

CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Zürich", "n": 3}'}}
OTHER_CALL = {"id": "call_2", "type": "function", "function": {"name": "count", "arguments": '{"deep": {"er": [1]}}'}}

QUESTION = ({"role": "user", "content": "Where does the river go?"},)
WITH_SYSTEM = ({"role": "system", "content": "Answer in one line."}, *QUESTION)
SEVERAL_TURNS = (
    *WITH_SYSTEM,
    {"role": "assistant", "content": "To the sea."},
    {"role": "user", "content": "Which one?\u2028The next."},
)
WITH_TOOLS = (
    *WITH_SYSTEM,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "name": "look_up", "content": "North Sea"},
)
WITH_OTHER_TOOL = (
    *QUESTION,
    {"role": "assistant", "content": "", "tool_calls": [OTHER_CALL]},
    {"role": "tool", "tool_call_id": "call_2", "content": ""},
    {"role": "assistant", "content": "Counted."},
    {"role": "user", "content": "And now?"},
)
REQUESTS = (QUESTION, WITH_SYSTEM, SEVERAL_TURNS, WITH_TOOLS, WITH_OTHER_TOOL)


def make_pair(
    messages: tuple[dict[str, Any], ...] = WITH_SYSTEM,
    *,
    id: str = "c1",  # noqa: A002 - the record's name
    output: str = "To the Black Sea, I believe.",
    opinion: UserVerdict = "accepted",
    edit: str | None = None,
) -> Pair:
    """Build a pair; with an edit its opinion is `edited`."""
    said: UserVerdict = opinion if edit is None else "edited"
    return Pair(
        id=id, at="2026-05-02T10:00:00Z", feature="geo", messages=messages, output=output, opinion=said, edit=edit
    )


def make_pairs(count: int) -> list[Pair]:
    """Build pairs of every kind of request and opinion in turn, each with texts of its own; plain ones first.

    The first rows hold no tool call: a loader that guesses a schema from them would stumble later.
    """
    pairs = []
    for number in range(count):
        request = REQUESTS[number * len(REQUESTS) // count]
        opinion: UserVerdict = "rejected" if number % 4 == 3 else "accepted"
        edit = f"To the North Sea, {number} times." if number % 2 == 0 else None
        pairs.append(make_pair(request, id=f"c{number}", output=f"To the sea, {number}.", opinion=opinion, edit=edit))
    return pairs


def rows_of(name: FormatName, pairs: list[Pair]) -> list[TrainingRow]:
    """Return the rows of those pairs that the format can represent."""
    made = [FORMATS[name].rows(pair) for pair in pairs]
    return [row for rows in made if not isinstance(rows, FormatViolation) for row in rows]


def row_of(name: FormatName, messages: tuple[dict[str, Any], ...] = SEVERAL_TURNS) -> TrainingRow:
    """Return a valid row of a format."""
    rows = FORMATS[name].rows(make_pair(messages, edit="To the North Sea."))
    assert not isinstance(rows, FormatViolation)
    return rows[0]
