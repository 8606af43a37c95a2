"""The rules of a row, for each format; and which format a row is of.

In: a row of anyone's file. Out: broken rules; a guess. Must never know lines or files.

Sources: OpenAI's OpenAPI document 2.3 (`FineTuneChatRequestInput`, `FineTunePreferenceRequestInput`) and its cookbook's
"Data preparation and analysis for chat model fine-tuning"; `together` 1.5, `utils/files.py`; TRL 1.16, "Dataset
formats and types"; Axolotl, "Conversation"; LLaMA-Factory, `data/README.md` and `data/converter.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from flowai.finetune.check.messages import (
    OPENAI,
    TEMPLATED,
    Dialect,
    are_arguments_valid,
    check_content,
    check_definitions,
    check_messages,
    defined_name,
    messages_in,
    type_of,
)
from flowai.finetune.check.records import Found
from flowai.finetune.formats.sharegpt import ANSWERING, ASKING, CALLING
from flowai.storage.strict_json import NotStrictError, parse_json, shown

if TYPE_CHECKING:
    from flowai.finetune.formats.catalog import FormatName

Row = dict[str, Any]
Check = Callable[[Row], Iterator[Found]]

_SIGNS: tuple[tuple[FormatName, frozenset[str]], ...] = (
    ("openai-dpo", frozenset({"preferred_output", "non_preferred_output"})),
    ("llamafactory", frozenset({"conversations"})),
    ("llamafactory", frozenset({"instruction", "output"})),
    ("trl-dpo", frozenset({"chosen", "rejected"})),
    ("kto", frozenset({"completion", "label"})),
    ("trl", frozenset({"prompt", "completion"})),
)


def detect(row: Row) -> FormatName | None:
    """Say which format a row looks like, by its keys; None where it looks like none.

    A row of which one key is missing is still known by the others. Chat rows are OpenAI's unless their messages say
    `training`, as Axolotl's do.
    """
    if isinstance(row.get("messages"), list):
        return "axolotl" if any("training" in message for message in messages_in(row["messages"])) else "openai"
    for name, keys in _SIGNS:
        if keys <= row.keys():
            return name
    for name, keys in _SIGNS:
        if keys & row.keys():
            return name
    return "openai" if "messages" in row else "trl" if "text" in row or "prompt" in row else None


def check_row(name: FormatName, row: Row) -> Iterator[Found]:
    """Check a row against a format."""
    seen = detect(row)
    if seen is not None and seen != name and not row.keys() & _KEYS[name]:
        yield Found(rule="row/other_format", what=f"looks like `{seen}`")
        return
    yield from _CHECKS[name](row)


def _missing(row: Row, *keys: str) -> Iterator[Found]:
    for key in keys:
        if key not in row:
            has = ", ".join(f"`{shown(name)}`" for name in list(row)[:6]) or "no keys"
            yield Found(rule="row/missing_key", key=key, what=f"the row has {has}")


def _unknown(row: Row, *keys: str) -> Iterator[Found]:
    for key in sorted(row.keys() - set(keys)):
        yield Found(rule="row/unknown_key", key=shown(key))


def _openai(row: Row) -> Iterator[Found]:
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
    if _speaks_of_tools(row, messages):
        yield Found(rule="roles/together")


def _weights(messages: Any, key: str) -> Iterator[Found]:  # noqa: ANN401 - any file
    for index, message in enumerate(messages_in(messages)):
        if "weight" not in message:
            continue
        weight = message["weight"]
        if isinstance(weight, bool | float) or weight not in (0, 1):
            yield Found(rule="weight/value", key=f"{key}[{index}].weight", what=f"found {type_of(weight)}")
        elif message.get("role") != "assistant":
            yield Found(rule="weight/role", key=f"{key}[{index}].weight", what="only answers have a weight")


def _unlearned(messages: list[dict[str, Any]]) -> Iterator[Found]:
    if all(message.get("weight") == 0 for message in messages if message["role"] == "assistant"):
        yield Found(rule="trained/none", key="messages", what="every answer has weight 0")


def _tools(row: Row, messages: Any, key: str) -> Iterator[Found]:  # noqa: ANN401 - any file
    if row.get("tools") is None:
        return
    problems = list(check_definitions(row["tools"], "tools"))
    yield from problems
    if problems or isinstance(row["tools"], str):
        return
    known = {defined_name(tool) for tool in row["tools"]}
    for index, message in enumerate(messages_in(messages)):
        for call in messages_in(message.get("tool_calls")):
            called = defined_name(call)
            if called and called not in known:
                yield Found(rule="tools/undeclared", key=f"{key}[{index}]", what=f"`{shown(called)}`")


def _speaks_of_tools(row: Row, messages: Any) -> bool:  # noqa: ANN401 - any file
    said = messages_in(messages)
    return bool(row.get("tools")) or any(one.get("tool_calls") or one.get("role") == "tool" for one in said)


def _openai_dpo(row: Row) -> Iterator[Found]:
    outputs = ("preferred_output", "non_preferred_output")
    yield from _unknown(row, "input", *outputs)
    yield from _missing(row, "input", *outputs)
    source = row.get("input")
    if isinstance(source, dict):
        if "messages" not in source:
            yield Found(rule="row/missing_key", key="input.messages")
        else:
            yield from check_messages(source["messages"], "input.messages", OPENAI, ends="request")
            yield from _tools(source, source["messages"], "input.messages")
    elif "input" in row:
        yield Found(rule="row/key_type", key="input", what=f"found {type_of(source)}, expected an object")
    for key in outputs:
        if key in row:
            yield from _output(row[key], key, OPENAI, exactly_one=True)
    yield from _same(row, *outputs)


def _output(value: Any, key: str, dialect: Dialect, *, exactly_one: bool) -> Iterator[Found]:  # noqa: ANN401 - any file
    """Check a list that holds answers alone."""
    if isinstance(value, list) and exactly_one and len(value) != 1:
        yield Found(rule="output/count", key=key, what=f"found {len(value)} messages, expected 1")
        return
    problems = list(check_messages(value, key, dialect, ends="anything"))
    yield from problems
    if problems or not isinstance(value, list):
        return
    for index, message in enumerate(value):
        allowed = {"assistant"} if exactly_one else {"assistant", "tool"}
        if message["role"] not in allowed:
            yield Found(rule="output/role", key=f"{key}[{index}].role", what=f"found `{message['role']}`")


def _same(row: Row, better: str, worse: str) -> Iterator[Found]:
    if better in row and worse in row and row[better] and row[better] == row[worse]:
        yield Found(rule="preference/same", key=worse)


def _trl(row: Row) -> Iterator[Found]:
    """Check TRL's three supervised types: prompt and completion, messages, text."""
    if "prompt" in row or "completion" in row:
        yield from _missing(row, "prompt", "completion")
        yield from _prompt(row)
        if "completion" in row:
            yield from _answer(row, "completion")
    elif "messages" in row:
        yield from check_messages(row["messages"], "messages", TEMPLATED, ends="answer")
        yield from _tools(row, row["messages"], "messages")
    elif "text" in row:
        yield from _text(row["text"], "text")
    else:
        yield from _missing(row, "prompt", "completion")


def _prompt(row: Row) -> Iterator[Found]:
    """Check a prompt, which is a text or messages, and that the answer is of the same kind."""
    if "prompt" not in row:
        return
    prompt = row["prompt"]
    if isinstance(prompt, str):
        yield from _text(prompt, "prompt")
    else:
        yield from check_messages(prompt, "prompt", TEMPLATED, ends="request")
        yield from _tools(row, prompt, "prompt")
        roles = [message.get("role") for message in messages_in(prompt)]
        if roles and all(role == "system" for role in roles):
            yield Found(rule="roles/no_request", key="prompt", what="only a system message")


def _answer(row: Row, key: str) -> Iterator[Found]:
    value = row[key]
    if "prompt" in row and isinstance(value, str) != isinstance(row["prompt"], str):
        yield Found(rule="row/key_type", key=key, what=f"found {type_of(value)} beside {type_of(row['prompt'])}")
    elif isinstance(value, str):
        yield from _text(value, key)
    else:
        yield from _output(value, key, TEMPLATED, exactly_one=False)


def _text(value: Any, key: str) -> Iterator[Found]:  # noqa: ANN401 - any file
    if not isinstance(value, str):
        yield Found(rule="row/key_type", key=key, what=f"found {type_of(value)}, expected a text")
    elif not value.strip():
        yield Found(rule="content/empty", key=key)


def _trl_dpo(row: Row) -> Iterator[Found]:
    yield from _missing(row, "chosen", "rejected")
    if "prompt" in row:
        yield from _prompt(row)
        for key in ("chosen", "rejected"):
            if key in row:
                yield from _answer(row, key)
    else:  # each conversation stands whole, the prompt twice
        for key in ("chosen", "rejected"):
            if isinstance(row.get(key), str):
                yield from _text(row[key], key)
            elif key in row:
                yield from check_messages(row[key], key, TEMPLATED, ends="answer")
        chosen, rejected = row.get("chosen"), row.get("rejected")
        if isinstance(chosen, list) and isinstance(rejected, list) and chosen and rejected and chosen[0] != rejected[0]:
            yield Found(rule="preference/prompt", key="rejected", what="the first messages differ")
    yield from _same(row, "chosen", "rejected")


def _kto(row: Row) -> Iterator[Found]:
    yield from _missing(row, "prompt", "completion", "label")
    yield from _prompt(row)
    if "completion" in row:
        yield from _answer(row, "completion")
    if "label" in row and not isinstance(row["label"], bool):
        yield Found(rule="label/type", key="label", what=f"found {type_of(row['label'])}, expected true or false")


def _axolotl(row: Row) -> Iterator[Found]:
    yield from _missing(row, "messages")
    if "messages" not in row:
        return
    messages = row["messages"]
    problems = list(check_messages(messages, "messages", TEMPLATED, ends="answer"))
    yield from problems
    yield from _tools(row, messages, "messages")
    flags = [message.get("training") for message in messages_in(messages)]
    for index, flag in enumerate(flags):
        if flag is not None and not isinstance(flag, bool):
            yield Found(rule="training/type", key=f"messages[{index}].training", what=f"found {type_of(flag)}")
    if any(flag is not None for flag in flags) and not any(flags):
        yield Found(rule="trained/none", key="messages", what="`training` is true nowhere")


def _llamafactory(row: Row) -> Iterator[Found]:
    if "instruction" in row or ("output" in row and "conversations" not in row):
        yield from _alpaca(row)
        return
    yield from _missing(row, "conversations")
    for key in ("system", "tools"):
        if row.get(key) is not None and not isinstance(row[key], str):
            yield Found(rule="row/key_type", key=key, what=f"found {type_of(row[key])}, expected a text")
    if isinstance(row.get("tools"), str):
        yield from check_definitions(row["tools"], "tools")
    if "conversations" in row:
        yield from _sharegpt(row["conversations"], ranked="chosen" in row or "rejected" in row)
    for key in ("chosen", "rejected"):
        if key in row:
            yield from _turn(row[key], key)
            if isinstance(row[key], dict) and row[key].get("from") in tuple(ASKING):
                yield Found(rule="output/role", key=f"{key}.from")
    yield from _same(row, "chosen", "rejected")
    if "kto_tag" in row and not isinstance(row["kto_tag"], bool):
        yield Found(rule="label/type", key="kto_tag", what=f"found {type_of(row['kto_tag'])}, expected true or false")


def _sharegpt(turns: Any, *, ranked: bool) -> Iterator[Found]:  # noqa: ANN401 - any file
    key = "conversations"
    if not isinstance(turns, list):
        yield Found(rule="row/key_type", key=key, what=f"found {type_of(turns)}, expected a list")
        return
    if not turns:
        yield Found(rule="messages/empty", key=key)
        return
    problems = [found for index, turn in enumerate(turns) for found in _turn(turn, f"{key}[{index}]")]
    yield from problems
    if problems:
        return
    first = 1 if turns[0]["from"] == "system" else 0
    for index, turn in enumerate(turns[first:]):
        if turn["from"] == "system":
            yield Found(rule="roles/system", key=f"{key}[{first + index}].from")
            return
        if turn["from"] not in (ANSWERING if index % 2 else ASKING):
            wanted = "gpt` or `function_call" if index % 2 else "human` or `observation"
            what = f"found `{turn['from']}`, expected `{wanted}`"
            yield Found(rule="roles/order", key=f"{key}[{first + index}].from", what=what)
            return
    if len(turns[first:]) % 2 != int(ranked):
        yield Found(rule="roles/last", key=key, what=f"{len(turns[first:])} turns")


def _turn(turn: Any, key: str) -> Iterator[Found]:  # noqa: ANN401 - any file
    if not isinstance(turn, dict):
        yield Found(rule="message/type", key=key, what=f"found {type_of(turn)}")
        return
    tag = turn.get("from")
    if "from" not in turn:
        yield Found(rule="role/missing", key=key)
    elif not isinstance(tag, str):
        yield Found(rule="role/type", key=f"{key}.from", what=f"found {type_of(tag)}")
    elif tag not in ASKING | ANSWERING | {"system"}:
        yield Found(rule="role/unknown", key=f"{key}.from", what=f"found `{shown(tag)}`")
    if "value" not in turn:
        yield Found(rule="content/missing", key=key)
    elif isinstance(turn["value"], list):
        yield Found(rule="content/type", key=f"{key}.value", what="found a list")
    else:
        problems = list(check_content(turn["value"], f"{key}.value", TEMPLATED, may_be_empty=tag == "observation"))
        yield from problems
        if not problems and tag == CALLING:
            yield from _function_call(turn["value"], f"{key}.value")


def _function_call(text: str, key: str) -> Iterator[Found]:
    try:
        calls = parse_json(text)
    except NotStrictError:
        yield Found(rule="tools/arguments", key=key, what="a function_call that is not JSON")
        return
    for call in calls if isinstance(calls, list) else [calls]:
        if not defined_name(call):
            yield Found(rule="tools/call", key=key, what="no `name`")
        elif not are_arguments_valid(call.get("arguments"), as_text=False):
            yield Found(rule="tools/arguments", key=key, what="`arguments` is not a JSON object")


def _alpaca(row: Row) -> Iterator[Found]:
    yield from _missing(row, "instruction", "output")
    for key in ("instruction", "output"):
        if key in row:
            yield from _text(row[key], key)
    for key in ("input", "system"):
        if row.get(key) is not None and not isinstance(row[key], str):
            yield Found(rule="row/key_type", key=key, what=f"found {type_of(row[key])}, expected a text")
    history = row.get("history")
    if history is not None and not (isinstance(history, list) and all(_is_pair(pair) for pair in history)):
        yield Found(rule="history/pairs", key="history")


def _is_pair(value: Any) -> bool:  # noqa: ANN401 - any file
    return isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value)  # noqa: PLR2004 - a question, an answer


_CHECKS: dict[FormatName, Check] = {
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
"""Keys of which a row of the format has at least one."""
