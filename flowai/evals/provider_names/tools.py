"""Brings tools of other providers into OpenAI's form."""

from __future__ import annotations

from typing import Any


def openai_tools(value: Any) -> Any:  # noqa: ANN401 - as written
    """Return tools in OpenAI's form: from Anthropic's, Google's, Bedrock's and promptfoo's own; others unchanged."""
    if not isinstance(value, list):
        return value
    return [tool for item in value for tool in _tools_of(item)]


def openai_tool_choice(value: Any) -> Any:  # noqa: ANN401 - as written
    """Return a choice of tools in OpenAI's form."""
    if not isinstance(value, dict):
        return value
    mode = value.get("mode", value.get("type"))
    config = value.get("functionCallingConfig") or value.get("function_calling_config")
    if isinstance(config, dict):
        mode = str(config.get("mode", "auto")).lower()
    name = value.get("toolName", value.get("name"))
    if mode in {"tool", "function"} and name:
        return {"type": "function", "function": {"name": name}}
    return {"any": "required", "required": "required", "auto": "auto", "none": "none"}.get(str(mode), value)


def _tools_of(item: Any) -> list[Any]:  # noqa: ANN401 - as written
    if not isinstance(item, dict):
        return [item]
    declarations = item.get("functionDeclarations", item.get("function_declarations"))
    if isinstance(declarations, list):
        return [_function(each, each.get("parameters")) for each in declarations if isinstance(each, dict)]
    if isinstance(item.get("toolSpec"), dict):
        schema = item["toolSpec"].get("inputSchema")
        return [_function(item["toolSpec"], schema.get("json") if isinstance(schema, dict) else None)]
    return [_named(item)]


def _named(item: dict[str, Any]) -> dict[str, Any]:
    """Return a tool that has its name at the top: Anthropic's, promptfoo's, or of OpenAI's responses API."""
    if "name" not in item or "function" in item:
        return item
    if "input_schema" in item:
        return _function(item, item["input_schema"])
    is_function = item.get("type") == "function" or ("type" not in item and "parameters" in item)
    return _function(item, item.get("parameters")) if is_function else item


def _function(tool: dict[str, Any], schema: Any) -> dict[str, Any]:  # noqa: ANN401 - as written
    function = {"name": tool.get("name"), "description": tool.get("description"), "parameters": schema}
    if "strict" in tool:
        function["strict"] = tool["strict"]
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}
