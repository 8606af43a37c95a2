"""Rules for a row of each format, and detection of a row's format.

Sources: OpenAI's OpenAPI document 2.3 (`FineTuneChatRequestInput`, `FineTunePreferenceRequestInput`) and its cookbook's
"Data preparation and analysis for chat model fine-tuning"; `together` 1.5, `utils/files.py`; TRL 1.16, "Dataset
formats and types"; Axolotl, "Conversation"; LLaMA-Factory, `data/README.md` and `data/converter.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from flowai.finetune.check.messages import (
    CHAT_TEMPLATE_DIALECT,
    OPENAI,
    Dialect,
    are_arguments_valid,
    check_content,
    check_definitions,
    check_messages,
    function_name,
    messages_in,
    type_of,
)
from flowai.finetune.check.records import ProblemMatch
from flowai.finetune.formats.sharegpt import ANSWERING, ASKING, CALLING
from flowai.storage.strict_json import NotStrictError, parse_json, printable

if TYPE_CHECKING:
    from flowai.finetune.formats.catalog import FormatName

TrainingRow = dict[str, Any]
RowCheck = Callable[[TrainingRow], Iterator[ProblemMatch]]

_MARKER_KEYS: tuple[tuple[FormatName, frozenset[str]], ...] = (
    ("openai-dpo", frozenset({"preferred_output", "non_preferred_output"})),
    ("llamafactory", frozenset({"conversations"})),
    ("llamafactory", frozenset({"instruction", "output"})),
    ("trl-dpo", frozenset({"chosen", "rejected"})),
    ("kto", frozenset({"completion", "label"})),
    ("trl", frozenset({"prompt", "completion"})),
)


def detect_format(row: TrainingRow) -> FormatName | None:
    """Return the format that a row's keys suggest, even if one is missing; None for unknown keys.

    Chat rows are OpenAI's, or Axolotl's if messages have `training`.
    """
    if isinstance(row.get("messages"), list):
        return "axolotl" if any("training" in message for message in messages_in(row["messages"])) else "openai"
    for name, keys in _MARKER_KEYS:
        if keys <= row.keys():
            return name
    for name, keys in _MARKER_KEYS:
        if keys & row.keys():
            return name
    return "openai" if "messages" in row else "trl" if "text" in row or "prompt" in row else None


def check_row(name: FormatName, row: TrainingRow) -> Iterator[ProblemMatch]:
    """Yield the problems of a row in a format."""
    detected = detect_format(row)
    if detected is not None and detected != name and not row.keys() & _KEYS[name]:
        yield ProblemMatch("row/other_format", problem=f"looks like `{detected}`")
        return
    yield from _CHECKS[name](row)


def _missing(row: TrainingRow, *keys: str) -> Iterator[ProblemMatch]:
    for key in keys:
        if key not in row:
            has = ", ".join(f"`{printable(name)}`" for name in list(row)[:6]) or "no keys"
            yield ProblemMatch("row/missing_key", key, f"the row has {has}")


def _unknown(row: TrainingRow, *keys: str) -> Iterator[ProblemMatch]:
    for key in sorted(row.keys() - set(keys)):
        yield ProblemMatch("row/unknown_key", printable(key))


def _openai(row: TrainingRow) -> Iterator[ProblemMatch]:
    yield from _unknown(row, "messages", "tools", "parallel_tool_calls", "functions")
    yield from _missing(row, "messages")
    if "messages" not in row:
        return
    messages = row["messages"]
    problems = [*check_messages(messages, "messages", OPENAI, ends="answer"), *_weights(messages, "messages")]
    yield from problems
    if not problems:
        yield from _unlearned(messages)
    yield from _tools(row, messages, "messages")
    if _has_tools(row, messages):
        yield ProblemMatch("roles/together")


def _weights(messages: Any, key: str) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    for index, message in enumerate(messages_in(messages)):
        if "weight" not in message:
            continue
        weight = message["weight"]
        if isinstance(weight, bool | float) or weight not in (0, 1):
            yield ProblemMatch("weight/value", f"{key}[{index}].weight", f"found {type_of(weight)}")
        elif message.get("role") != "assistant":
            yield ProblemMatch("weight/role", f"{key}[{index}].weight", "only answers have a weight")


def _unlearned(messages: list[dict[str, Any]]) -> Iterator[ProblemMatch]:
    if all(message.get("weight") == 0 for message in messages if message["role"] == "assistant"):
        yield ProblemMatch("trained/none", "messages", "every answer has weight 0")


def _tools(row: TrainingRow, messages: Any, key: str) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    if row.get("tools") is None:
        return
    problems = list(check_definitions(row["tools"], "tools"))
    yield from problems
    if problems or isinstance(row["tools"], str):
        return
    known = {function_name(tool) for tool in row["tools"]}
    for index, message in enumerate(messages_in(messages)):
        for call in messages_in(message.get("tool_calls")):
            called = function_name(call)
            if called and called not in known:
                yield ProblemMatch("tools/undeclared", f"{key}[{index}]", f"`{printable(called)}`")


def _has_tools(row: TrainingRow, messages: Any) -> bool:  # noqa: ANN401 - any file
    return bool(row.get("tools")) or any(
        message.get("tool_calls") or message.get("role") == "tool" for message in messages_in(messages)
    )


def _openai_dpo(row: TrainingRow) -> Iterator[ProblemMatch]:
    outputs = ("preferred_output", "non_preferred_output")
    yield from _unknown(row, "input", *outputs)
    yield from _missing(row, "input", *outputs)
    source = row.get("input")
    if isinstance(source, dict):
        if "messages" not in source:
            yield ProblemMatch("row/missing_key", "input.messages")
        else:
            yield from check_messages(source["messages"], "input.messages", OPENAI, ends="request")
            yield from _tools(source, source["messages"], "input.messages")
    elif "input" in row:
        yield ProblemMatch("row/key_type", "input", f"found {type_of(source)}, expected an object")
    for key in outputs:
        if key in row:
            yield from _output(row[key], key, OPENAI, exactly_one=True)
    yield from _same(row, *outputs)


def _output(value: Any, key: str, dialect: Dialect, *, exactly_one: bool) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    if isinstance(value, list) and exactly_one and len(value) != 1:
        yield ProblemMatch("output/count", key, f"found {len(value)} messages, expected 1")
        return
    problems = list(check_messages(value, key, dialect, ends="anything"))
    yield from problems
    if problems or not isinstance(value, list):
        return
    for index, message in enumerate(value):
        allowed = {"assistant"} if exactly_one else {"assistant", "tool"}
        if message["role"] not in allowed:
            yield ProblemMatch("output/role", f"{key}[{index}].role", f"found `{message['role']}`")


def _same(row: TrainingRow, better: str, worse: str) -> Iterator[ProblemMatch]:
    if better in row and worse in row and row[better] and row[better] == row[worse]:
        yield ProblemMatch("preference/same", worse)


def _trl(row: TrainingRow) -> Iterator[ProblemMatch]:
    """Check TRL's three supervised types: prompt and completion, messages, text."""
    if "prompt" in row or "completion" in row:
        yield from _missing(row, "prompt", "completion")
        yield from _prompt(row)
        if "completion" in row:
            yield from _answer(row, "completion")
    elif "messages" in row:
        yield from check_messages(row["messages"], "messages", CHAT_TEMPLATE_DIALECT, ends="answer")
        yield from _tools(row, row["messages"], "messages")
    elif "text" in row:
        yield from _text(row["text"], "text")
    else:
        yield from _missing(row, "prompt", "completion")


def _prompt(row: TrainingRow) -> Iterator[ProblemMatch]:
    """Check a prompt, which is a text or messages, and that it has a user's message."""
    if "prompt" not in row:
        return
    prompt = row["prompt"]
    if isinstance(prompt, str):
        yield from _text(prompt, "prompt")
    else:
        yield from check_messages(prompt, "prompt", CHAT_TEMPLATE_DIALECT, ends="request")
        yield from _tools(row, prompt, "prompt")
        roles = [message.get("role") for message in messages_in(prompt)]
        if roles and all(role == "system" for role in roles):
            yield ProblemMatch("roles/no_request", "prompt", "only a system message")


def _answer(row: TrainingRow, key: str) -> Iterator[ProblemMatch]:
    value = row[key]
    if "prompt" in row and isinstance(value, str) != isinstance(row["prompt"], str):
        yield ProblemMatch("row/key_type", key, f"found {type_of(value)} beside {type_of(row['prompt'])}")
    elif isinstance(value, str):
        yield from _text(value, key)
    else:
        yield from _output(value, key, CHAT_TEMPLATE_DIALECT, exactly_one=False)


def _text(value: Any, key: str) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    if not isinstance(value, str):
        yield ProblemMatch("row/key_type", key, f"found {type_of(value)}, expected a text")
    elif not value.strip():
        yield ProblemMatch("content/empty", key)


def _trl_dpo(row: TrainingRow) -> Iterator[ProblemMatch]:
    yield from _missing(row, "chosen", "rejected")
    if "prompt" in row:
        yield from _prompt(row)
        for key in ("chosen", "rejected"):
            if key in row:
                yield from _answer(row, key)
    else:  # each conversation is complete, with its own copy of the prompt
        for key in ("chosen", "rejected"):
            if isinstance(row.get(key), str):
                yield from _text(row[key], key)
            elif key in row:
                yield from check_messages(row[key], key, CHAT_TEMPLATE_DIALECT, ends="answer")
        chosen, rejected = row.get("chosen"), row.get("rejected")
        if isinstance(chosen, list) and isinstance(rejected, list) and chosen and rejected and chosen[0] != rejected[0]:
            yield ProblemMatch("preference/prompt", "rejected", "the first messages differ")
    yield from _same(row, "chosen", "rejected")


def _kto(row: TrainingRow) -> Iterator[ProblemMatch]:
    yield from _missing(row, "prompt", "completion", "label")
    yield from _prompt(row)
    if "completion" in row:
        yield from _answer(row, "completion")
    if "label" in row and not isinstance(row["label"], bool):
        yield ProblemMatch("label/type", "label", f"found {type_of(row['label'])}, expected true or false")


def _axolotl(row: TrainingRow) -> Iterator[ProblemMatch]:
    yield from _missing(row, "messages")
    if "messages" not in row:
        return
    messages = row["messages"]
    problems = list(check_messages(messages, "messages", CHAT_TEMPLATE_DIALECT, ends="answer"))
    yield from problems
    yield from _tools(row, messages, "messages")
    flags = [message.get("training") for message in messages_in(messages)]
    for index, flag in enumerate(flags):
        if flag is not None and not isinstance(flag, bool):
            yield ProblemMatch("training/type", f"messages[{index}].training", f"found {type_of(flag)}")
    if any(flag is not None for flag in flags) and not any(flags):
        yield ProblemMatch("trained/none", "messages", "`training` is true in no message")


def _llamafactory(row: TrainingRow) -> Iterator[ProblemMatch]:
    if "instruction" in row or ("output" in row and "conversations" not in row):
        yield from _alpaca(row)
        return
    yield from _missing(row, "conversations")
    for key in ("system", "tools"):
        if row.get(key) is not None and not isinstance(row[key], str):
            yield ProblemMatch("row/key_type", key, f"found {type_of(row[key])}, expected a text")
    if isinstance(row.get("tools"), str):
        yield from check_definitions(row["tools"], "tools")
    if "conversations" in row:
        yield from _sharegpt(row["conversations"], ranked="chosen" in row or "rejected" in row)
    for key in ("chosen", "rejected"):
        if key in row:
            yield from _turn(row[key], key)
            if isinstance(row[key], dict) and row[key].get("from") in tuple(ASKING):
                yield ProblemMatch("output/role", f"{key}.from")
    yield from _same(row, "chosen", "rejected")
    if "kto_tag" in row and not isinstance(row["kto_tag"], bool):
        yield ProblemMatch("label/type", "kto_tag", f"found {type_of(row['kto_tag'])}, expected true or false")


def _sharegpt(turns: Any, *, ranked: bool) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    key = "conversations"
    if not isinstance(turns, list):
        yield ProblemMatch("row/key_type", key, f"found {type_of(turns)}, expected a list")
        return
    if not turns:
        yield ProblemMatch("messages/empty", key)
        return
    problems = [problem for index, turn in enumerate(turns) for problem in _turn(turn, f"{key}[{index}]")]
    yield from problems
    if problems:
        return
    first = 1 if turns[0]["from"] == "system" else 0
    for index, turn in enumerate(turns[first:]):
        if turn["from"] == "system":
            yield ProblemMatch("roles/system", f"{key}[{first + index}].from")
            return
        if turn["from"] not in (ANSWERING if index % 2 else ASKING):
            expected = "gpt` or `function_call" if index % 2 else "human` or `observation"
            problem = f"found `{turn['from']}`, expected `{expected}`"
            yield ProblemMatch("roles/order", f"{key}[{first + index}].from", problem)
            return
    if len(turns[first:]) % 2 != int(ranked):
        yield ProblemMatch("roles/last", key, f"{len(turns[first:])} turns")


def _turn(turn: Any, key: str) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    if not isinstance(turn, dict):
        yield ProblemMatch("message/type", key, f"found {type_of(turn)}")
        return
    tag = turn.get("from")
    if "from" not in turn:
        yield ProblemMatch("role/missing", key)
    elif not isinstance(tag, str):
        yield ProblemMatch("role/type", f"{key}.from", f"found {type_of(tag)}")
    elif tag not in ASKING | ANSWERING | {"system"}:
        yield ProblemMatch("role/unknown", f"{key}.from", f"found `{printable(tag)}`")
    if "value" not in turn:
        yield ProblemMatch("content/missing", key)
    elif isinstance(turn["value"], list):
        yield ProblemMatch("content/type", f"{key}.value", "found a list")
    else:
        problems = list(
            check_content(turn["value"], f"{key}.value", CHAT_TEMPLATE_DIALECT, may_be_empty=tag == "observation")
        )
        yield from problems
        if not problems and tag == CALLING:
            yield from _function_call(turn["value"], f"{key}.value")


def _function_call(text: str, key: str) -> Iterator[ProblemMatch]:
    try:
        calls = parse_json(text)
    except NotStrictError:
        yield ProblemMatch("tools/arguments", key, "a function_call that is not JSON")
        return
    for call in calls if isinstance(calls, list) else [calls]:
        if not function_name(call):
            yield ProblemMatch("tools/call", key, "no `name`")
        elif not are_arguments_valid(call.get("arguments"), as_text=False):
            yield ProblemMatch("tools/arguments", key, "`arguments` is not a JSON object")


def _alpaca(row: TrainingRow) -> Iterator[ProblemMatch]:
    yield from _missing(row, "instruction", "output")
    for key in ("instruction", "output"):
        if key in row:
            yield from _text(row[key], key)
    for key in ("input", "system"):
        if row.get(key) is not None and not isinstance(row[key], str):
            yield ProblemMatch("row/key_type", key, f"found {type_of(row[key])}, expected a text")
    history = row.get("history")
    if history is not None and not (isinstance(history, list) and all(_is_pair(pair) for pair in history)):
        yield ProblemMatch("history/pairs", "history")


def _is_pair(value: Any) -> bool:  # noqa: ANN401 - any file
    return isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value)  # noqa: PLR2004 - a question, an answer


_CHECKS: dict[FormatName, RowCheck] = {
    "openai": _openai,
    "openai-dpo": _openai_dpo,
    "trl": _trl,
    "trl-dpo": _trl_dpo,
    "kto": _kto,
    "axolotl": _axolotl,
    "llamafactory": _llamafactory,
}
_KEYS: dict[FormatName, frozenset[str]] = {
    "openai": frozenset({"messages"}),
    "openai-dpo": frozenset({"input", "preferred_output", "non_preferred_output"}),
    "trl": frozenset({"prompt", "completion", "messages", "text"}),
    "trl-dpo": frozenset({"chosen", "rejected"}),
    "kto": frozenset({"completion", "label"}),
    "axolotl": frozenset({"messages"}),
    "llamafactory": frozenset({"conversations", "instruction", "output"}),
}
"""A row of the format has at least one of its keys."""
