"""Converts tools and the choice between them from OpenAI's format into Anthropic's, as LiteLLM does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowai.providers.anthropic.unproven import UnprovenRequestError

if TYPE_CHECKING:
    from flowai.providers.anthropic.models import ModelAbilities

_TOOL_KEYS = frozenset({"type", "function", "cache_control", "strict"})
_FUNCTION_KEYS = frozenset({"name", "description", "parameters", "strict", "cache_control"})
_NAME = re.compile("[a-zA-Z0-9_-]{1,128}")
"""Names that Anthropic accepts; LiteLLM renames others."""
_SCHEMA_KEYS = ("type", "properties", "additionalProperties", "required", "$defs", "strict")
"""Keywords of a tool's schema that LiteLLM sends, at its top."""
_REWRITTEN_KEYS = frozenset({"definitions", "components"})
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_FORCED = frozenset({"any", "tool"})


def convert_tools(tools: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON is anything
    """Return function tools in Anthropic's format.

    Raises:
        UnprovenRequestError: LiteLLM must convert them.
    """
    if not isinstance(tools, list | tuple) or not tools:
        raise UnprovenRequestError("unusual tools")
    return [_tool(tool) for tool in tools]


def convert_tool_choice(choice: Any, parallel: Any, abilities: ModelAbilities) -> dict[str, Any] | None:  # noqa: ANN401 - JSON is anything
    """Return Anthropic's `tool_choice`; None if nothing is sent.

    Args:
        choice: OpenAI's `tool_choice`, or None.
        parallel: OpenAI's `parallel_tool_calls`, or None.
        abilities: of the model.

    Raises:
        UnprovenRequestError: LiteLLM must convert it.
    """
    if not isinstance(parallel, bool | None):
        raise UnprovenRequestError("an unusual `parallel_tool_calls`")
    converted = _choice(choice)
    if parallel is not None and converted != {"type": "none"}:
        converted = (converted or {"type": "auto"}) | {"disable_parallel_tool_use": not parallel}
    if converted is not None and converted["type"] in _FORCED and not abilities.supports_forced_tool_use:
        raise UnprovenRequestError("the model cannot be forced to call a tool")
    return converted


def _choice(choice: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JSON is anything
    match choice:
        case None:
            return None
        case str() if choice in _CHOICES:
            return {"type": _CHOICES[choice]}
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "tool", "name": name}
    raise UnprovenRequestError("an unusual `tool_choice`")


def _tool(tool: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON is anything
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or tool.get("type") != "function":
        raise UnprovenRequestError("an unusual tool")
    name = function.get("name")
    if not (tool.keys() <= _TOOL_KEYS and function.keys() <= _FUNCTION_KEYS and isinstance(name, str)):
        raise UnprovenRequestError("an unusual tool")
    if not _NAME.fullmatch(name):
        raise UnprovenRequestError("an unusual name of a tool")
    converted = {"type": "custom", "name": name, "input_schema": _input_schema(function.get("parameters"))}
    if function.get("description") is not None:
        converted["description"] = function["description"]
    cache_control = tool.get("cache_control") or function.get("cache_control")
    if cache_control is not None:
        if not isinstance(cache_control, dict):
            raise UnprovenRequestError("an unusual cache control")
        converted["cache_control"] = cache_control
    return converted


def _input_schema(schema: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON is anything
    if schema is None:
        schema = {}
    if not isinstance(schema, dict) or schema.keys() & _REWRITTEN_KEYS:
        raise UnprovenRequestError("an unusual schema of a tool")
    return {"properties": {}, **{key: schema[key] for key in _SCHEMA_KEYS if key in schema}, "type": "object"}
