"""A prompt: front matter and compiled template, ready for any number of renders."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flowai.errors import Place, PromptError, expected_one_of
from flowai.prompts import spotlight
from flowai.prompts.messages import Message, RenderedPrompt
from flowai.prompts.schema.front_matter import FrontMatter, parse_front_matter
from flowai.prompts.schema.input_schema import InputSchema
from flowai.prompts.template import nodes as tree
from flowai.prompts.template.compiler import Program, compile_nodes
from flowai.prompts.template.context import RenderContext, RenderState
from flowai.prompts.template.limits import check_size
from flowai.prompts.template.message_builder import MessageBuilder
from flowai.prompts.template.parser import Partials, PartialSource, parse
from flowai.prompts.template.template_file import TemplateFile, split_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from flowai.prompts.schema.picoschema import Schema

NONCE_NAME = "nonce"
"""`{{@nonce}}` is the nonce of the marks around untrusted values, so that a template can explain them."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A parsed prompt file."""

    id: str
    """Path from the project's root without suffix (`prompts/summary_v2`)."""
    path: Path
    hash: str
    """SHA-256 over its bytes and its partials', hex."""
    settings: FrontMatter
    program: Program
    file: str

    @property
    def model(self) -> str | None:
        """Model in the front matter; None if it names none."""
        return self.settings.model

    @property
    def config(self) -> dict[str, Any]:
        """Sampling parameters by LiteLLM's names; a copy."""
        return dict(self.settings.config)

    @property
    def output_schema(self) -> Schema | None:
        """JSON Schema of the answer; None for free text."""
        return self.settings.output_schema

    @property
    def promises_json(self) -> bool:
        """True if the answer should be JSON."""
        return self.settings.promises_json

    @property
    def variables(self) -> tuple[str, ...]:
        """Variables of the template or the input schema, sorted."""
        return self.contract.names

    @cached_property
    def contract(self) -> InputSchema:
        """Requirements for values, from the input schema and the template."""
        return InputSchema(
            file=self.file,
            schema=self.settings.input_schema,
            schema_place=self.settings.input_place if self.settings.input_schema is not None else None,
            uses={name: path.place for name, path in self.program.uses.items()},
            uses_all=self.program.uses_all,
            defaults=self.settings.defaults,
        )

    def select(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that this prompt knows; all of them if it accepts any name.

        Cases of an evaluation also have variables for assertions only: they must be removed before a strict render.
        """
        if self.contract.accepts_unknown:
            return dict(values)
        known = {*self.contract.names, *self.settings.defaults}
        return {name: value for name, value in values.items() if name in known}

    def render(
        self,
        values: Mapping[str, Any],
        *,
        history: Sequence[Message] = (),
        context: Mapping[str, Any] | None = None,
        strict: bool = True,
        nonce: str | None = None,
    ) -> RenderedPrompt:
        """Render the conversation for these values.

        Args:
            values: the variables.
            history: earlier messages; inserted at `{{history}}`, else before the last user message.
            context: values of `@name` (`{{@state.count}}`).
            strict: missing, unknown and wrongly typed values are errors; otherwise missing values are empty.
            nonce: for the marks around untrusted values, at least 8 letters and digits; None to derive one from the
                content (see `spotlight.derive_nonce` for the trade-off).

        Returns:
            Typed messages; every value in them byte for byte, unless the prompt's own policy changes it.

        Raises:
            PromptError: the values break the contract, cannot be written as text, or contain a token that the policy
                rejects.
        """
        settings = self.settings
        all_values = {**settings.defaults, **values} if settings.defaults else values
        if strict:
            self.contract.check_schema()
            self.contract.check(all_values)
        if settings.untrusted and nonce is None:
            nonce = spotlight.derive_nonce(self.hash, all_values)
        elif settings.untrusted and nonce is not None:
            spotlight.check_nonce(nonce, place=Place(file=self.file))
        else:
            nonce = None
        builder = MessageBuilder(policy=settings.policy, history=history, file=self.file)
        state = RenderState(
            builder=builder,
            data={**(context or {}), NONCE_NAME: nonce} if nonce else context or {},
            root=all_values,
            nonce=nonce or "",
            needs_data=strict,
            needs_values=strict and settings.input_schema is None,
        )
        root_context = RenderContext(state, all_values, None, {})
        for step in self.program.steps:
            step(root_context)
        return RenderedPrompt(messages=builder.finish(), nonce=nonce)


class _RecordingPartials:
    """Records the partials that a template includes, for the prompt's hash."""

    def __init__(self, partials: Partials) -> None:
        self._partials = partials
        self.used: dict[str, PartialSource] = {}

    def get(self, name: str) -> PartialSource | None:
        source = self._partials.get(name)
        if source is not None:
            self.used[name] = source
        return source

    def names(self) -> Iterable[str]:
        return self._partials.names()


def parse_prompt(
    text: str,
    *,
    id: str,  # noqa: A002 - the field's name
    path: Path,
    file: str,
    partials: Partials,
    schemas: Mapping[str, Schema] | None = None,
    strict: bool = True,
) -> Prompt:
    """Parse a prompt file.

    Args:
        text: the whole file.
        id: the prompt's id.
        path: the file.
        file: its name in errors.
        partials: source of partials.
        schemas: those that Picoschema may use by name.
        strict: unknown keys and parameters, and a file without a template, are errors; otherwise they are accepted, as
            in dotprompt.

    Raises:
        PromptError: it is wrong.
    """
    check_size(len(text.encode("utf-8", "surrogatepass")), file=file)
    parts = split_file(text, file=file)
    settings = parse_front_matter(parts, file=file, schemas=schemas, strict=strict)
    recorded = _RecordingPartials(partials)
    nodes = parse(parts.body, file=file, first_line=parts.first_line, partials=recorded)
    if strict and not any(not isinstance(node, tree.Text) or node.text.strip() for node in nodes):
        raise _no_template(parts, file)
    program = compile_nodes(nodes, untrusted=settings.untrusted)
    digest = _digest(text, recorded.used)
    prompt = Prompt(id=id, path=path, hash=digest, settings=settings, program=program, file=file)
    for name in settings.untrusted:
        if name not in prompt.variables and not prompt.contract.accepts_unknown:
            hint = expected_one_of(prompt.variables, found=name)
            raise PromptError(f"no variable `{name}`", place=settings.untrusted_place, hint=hint)
    return prompt


def _no_template(parts: TemplateFile, file: str) -> PromptError:
    hint = "write the text of the prompt, with `{{name}}` for variables"
    if parts.yaml is not None:
        what = "there is front matter, and no template after it"
        return PromptError(what, place=Place(file=file, line=parts.first_line), hint=f"{hint}, below the second `---`")
    what = "the prompt has only comments" if parts.body.strip() else "the prompt is empty"
    return PromptError(what, place=Place(file=file, line=1), hint=hint)


def _digest(text: str, partials: Mapping[str, PartialSource]) -> str:
    """Hash the file and its partials, with lengths between them, so that different files have different hashes."""
    digest = hashlib.sha256()
    pieces = [text, *(piece for name in sorted(partials) for piece in (name, partials[name].text))]
    for piece in pieces:
        data = piece.encode("utf-8", "surrogatepass")
        digest.update(f"{len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()
