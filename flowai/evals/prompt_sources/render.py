"""Renders a prompt of a suite with the variables of a case: templates, chats and functions.

A template that is JSON is parsed before it is rendered, so that no variable can break it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from flowai.errors import Place, PromptError
from flowai.evals.prompt_sources.records import RenderedSuitePrompt
from flowai.evals.templates import (
    MalformedTemplateError,
    TemplateError,
    protect_partial,
    render,
    root_names,
    to_json,
)
from flowai.storage.files import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.code.runner import SubprocessCodeRunner
    from flowai.evals.suites.records import SuitePrompt, SuiteProvider
    from flowai.providers.client import ChatMessage

_MESSAGE_KEYS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
_ROLES = {"developer": "developer", "human": "user", "ai": "assistant", "bot": "assistant"}


async def render_prompt(  # noqa: PLR0913 - parts of one rendering
    prompt: SuitePrompt,
    variables: Mapping[str, Any],
    *,
    provider: SuiteProvider | None,
    env: Mapping[str, str],
    code: SubprocessCodeRunner | None,
    prefix: str = "",
    suffix: str = "",
    renders: bool = True,
) -> RenderedSuitePrompt:
    """Render a prompt.

    Args:
        prompt: the prompt; not of kind `library`.
        variables: of `resolve_variables`.
        provider: target that the prompt is for; a function gets its name.
        env: variables for `{{env.NAME}}`.
        code: runs functions; None if no code may be run.
        prefix: text before the template (`CaseOptions.prefix`).
        suffix: text after the template (`CaseOptions.suffix`).
        renders: whether templates inside variables are rendered (`Suite.renders_variables`).

    Raises:
        PromptError: the template is wrong, or no code may be run.
        CodeError: a function gave no prompt.
    """
    if prompt.kind != "function":
        return render_prompt_now(prompt, variables, env=env, prefix=prefix, suffix=suffix, renders=renders)
    if code is None or prompt.code is None:
        raise _error(prompt, "the prompt is a function", hint="run it without --no-code")
    from flowai.evals.code.sources import call_prompt_function  # not needed for prompts that are written

    result = await call_prompt_function(code, prompt, variables, provider)
    config = dict(prompt.config)
    if isinstance(result, dict) and "prompt" in result:
        config |= result.get("config") or {}
        result = result["prompt"]
    template = result if isinstance(result, str) else to_json(result)
    return _render(prompt, f"{prefix}{template}{suffix}", variables, env, config, renders=renders)


def render_prompt_now(
    prompt: SuitePrompt,
    variables: Mapping[str, Any],
    *,
    env: Mapping[str, str],
    prefix: str = "",
    suffix: str = "",
    renders: bool = True,
) -> RenderedSuitePrompt:
    """Render a prompt that is no function; otherwise as `render_prompt`."""
    if prompt.kind == "function":
        raise TypeError("a function must be awaited")
    return _render(prompt, f"{prefix}{prompt.template}{suffix}", variables, env, dict(prompt.config), renders=renders)


def _render(
    prompt: SuitePrompt,
    template: str,
    variables: Mapping[str, Any],
    env: Mapping[str, str],
    config: dict[str, Any],
    *,
    renders: bool,
) -> RenderedSuitePrompt:
    try:
        text = _render_text(template, variables, env, renders=renders)
    except TemplateError as error:
        where = "" if error.line in {None, 1} else f" (line {error.line} of the template)"
        hint = "to keep braces as they are, use {% raw %}...{% endraw %}"
        raise _error(prompt, f"the template cannot be rendered: {error.what}{where}", hint=hint) from None
    messages = _messages(text, prompt)
    return RenderedSuitePrompt(messages=messages, text=text, config=config, promises_json=_promises_json(config))


def _render_text(template: str, variables: Mapping[str, Any], env: Mapping[str, str], *, renders: bool) -> str:
    if template.lstrip()[:1] in {"{", "[", '"'}:
        try:
            parsed = json.loads(template)
        except (ValueError, RecursionError):
            pass
        else:
            return to_json(_render_inside(parsed, variables, env), 2)
    values = {name: _render_variable(part, variables) for name, part in variables.items()} if renders else variables
    return render(protect_partial(template), values, env=env)


def _render_inside(value: Any, variables: Mapping[str, Any], env: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return render(value, variables, env=env)
    if isinstance(value, dict):
        return {key: _render_inside(part, variables, env) for key, part in value.items()}
    return [_render_inside(part, variables, env) for part in value] if isinstance(value, list) else value


def _render_variable(value: object, variables: Mapping[str, Any]) -> object:
    """Render a template inside a variable; it never sees the environment.

    A text that reads an undefined variable, or is no valid template, stays: documents about templates are usual values.
    """
    if not isinstance(value, str) or "{" not in value:
        return value
    names = root_names(value) - {"env"}
    if any(variables.get(name) is None for name in names):
        return value
    try:
        return render(protect_partial(value), variables)
    except MalformedTemplateError:
        return value


def _messages(text: str, prompt: SuitePrompt) -> tuple[ChatMessage, ...]:
    """Return the chat that a rendered text is; any other text is one message of the user."""
    parsed = _parse_chat(text, prompt)
    if isinstance(parsed, dict) and isinstance(parsed.get("messages"), list):
        parsed = parsed["messages"]
    if isinstance(parsed, dict) and _is_message(parsed):
        parsed = [parsed]
    if not isinstance(parsed, list) or not parsed or not all(_is_message(part) for part in parsed):
        return ({"role": "user", "content": text},)
    return tuple(_message(part) for part in parsed)


def _parse_chat(text: str, prompt: SuitePrompt) -> object:
    start = text.lstrip()
    if start.startswith("- role:"):
        name = prompt.file or prompt.place.rpartition(":")[0] or prompt.id
        return parse_yaml(text, name=f"{name} (rendered)", kind=PromptError, is_core=True).value
    if start[:1] not in {"[", "{"}:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and ("content" in value or len(value) > 1)


def _message(value: dict[str, Any]) -> ChatMessage:
    role = value["role"]
    message: Any = {key: part for key, part in value.items() if key in _MESSAGE_KEYS}
    message["role"] = _ROLES.get(role, role)
    content = message.get("content")
    if isinstance(content, bool | int | float):
        message["content"] = to_json(content)
    elif isinstance(content, dict):
        message["content"] = [content] if "type" in content else to_json(content)
    return message  # type: ignore[no-any-return]


def _promises_json(config: Mapping[str, Any]) -> bool:
    required = config.get("response_format")
    return isinstance(required, dict) and re.fullmatch(r"json_(object|schema)", str(required.get("type"))) is not None


def _error(prompt: SuitePrompt, what: str, *, hint: str) -> PromptError:
    file, _, line = prompt.place.rpartition(":")
    place = Place(file=prompt.file or file, line=int(line) if line.isdecimal() and prompt.file is None else None)
    return PromptError(f"prompt `{prompt.id}`: {what}", place=place, hint=hint)
