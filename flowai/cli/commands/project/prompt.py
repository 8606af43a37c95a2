"""`flowai prompt show`: options and screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowai.cli.help_format import HelpCommand, HelpGroup, examples
from flowai.cli.options import JsonOption, Variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.prompts import Message, Prompt

app = typer.Typer(
    cls=HelpGroup,
    help="Render and check prompt files.",
    epilog=examples(
        "flowai prompt show prompts/summary_v2", "flowai prompt show prompts/summary_v2 --var text=@notes.txt"
    ),
    no_args_is_help=True,
)


@app.callback()
def prompt() -> None:
    """Render and check prompt files."""


@app.command(
    cls=HelpCommand,
    epilog=examples(
        "flowai prompt show prompts/summary_v2",
        "flowai prompt show prompts/summary_v2 --var text=@notes.txt",
        "flowai prompt show prompts/summary_v2 --var text=Hello --json",
    ),
)
def show(
    prompt_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the prompt, or its file.")],
    var: Variables = None,
    json: JsonOption = False,
) -> None:
    """Check a prompt and show its messages as a model gets them.

    Without any value, a prompt that needs some is shown as its template. Exit status: 0; 2 if the values do not fit; 3
    if the file is wrong.
    """
    from pathlib import Path

    from flowai.cli import console
    from flowai.cli.variables import parse_variables
    from flowai.prompts import PromptLibrary, openai_messages
    from flowai.prompts.library import PROMPT_SUFFIX

    library = PromptLibrary(console.project())
    is_file = prompt_id.endswith(PROMPT_SUFFIX)
    loaded = library.load(library.id_of(Path.cwd() / prompt_id) if is_file else prompt_id)
    values = parse_variables(var or [])
    is_rendered = bool(values) or not loaded.contract.required
    messages = openai_messages(_render(loaded, values)) if is_rendered else None
    if json:
        console.print_json(_document(loaded, messages))
        return
    for line in _facts(loaded):
        console.print_line(line)
    if messages is None:
        given = " ".join(f"--var {name}=..." for name in sorted(loaded.contract.required))
        console.print_line(f"\n{loaded.path.read_text(encoding='utf-8').strip()}\n\nNOT RENDERED   pass {given}")
        return
    for message in messages:
        content = message["content"]
        text = content if isinstance(content, str) else "\n".join(map(_part_text, content))
        console.print_line(f"\n[{message['role']}]\n{text}")
    for warning in _warnings(loaded, values):
        console.print_line(f"\nwarning: {warning}")


def _render(prompt: Prompt, values: Mapping[str, Any]) -> tuple[Message, ...]:
    from flowai.errors import PromptError, UsageError

    try:
        return prompt.render(values).messages
    except PromptError as error:  # the file is valid: the values are not
        raise UsageError(str(error), hint=error.hint or "pass values as --var NAME=TEXT") from None


def _document(prompt: Prompt, messages: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {
        "id": prompt.id,
        "file": prompt.file,
        "hash": prompt.hash,
        "model": prompt.model,
        "config": prompt.config,
        "variables": prompt.variables,
        "required": sorted(prompt.contract.required),
        "output_schema": prompt.output_schema,
        "messages": messages,
    }


def _facts(prompt: Prompt) -> Iterator[str]:
    yield f"{prompt.id}   {prompt.file}   hash {prompt.hash[:12]}"
    if prompt.model is not None:
        yield f"model      {prompt.model}"
    if prompt.config:
        yield "config     " + ", ".join(f"{name} {value}" for name, value in prompt.config.items())
    if prompt.variables:
        required = prompt.contract.required
        yield "variables  " + ", ".join(name if name in required else f"{name}?" for name in prompt.variables)
    if prompt.promises_json:
        fields = (prompt.output_schema or {}).get("properties", {})
        yield f"answer     JSON{': ' if fields else ''}{', '.join(fields)}"


def _part_text(part: Mapping[str, Any]) -> str:
    return str(part["text"]) if "text" in part else f"<{part['image_url']['url']}>"


def _warnings(prompt: Prompt, values: Mapping[str, Any]) -> Iterator[str]:
    from flowai.prompts.control_tokens import control_tokens

    for name, value in values.items():
        tokens = control_tokens(value) if isinstance(value, str) and prompt.settings.policy == "allow" else ()
        if tokens:
            yield f"`{name}` contains control tokens ({', '.join(tokens)}); see `flowai.control_tokens` of the prompt"
