"""Asks a model for a new template; each reply is kept at once, so that a repeated upgrade does not pay for it again."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import CallError
from flowai.evals.assertions.graded.replies import GraderReplyError, reply_object
from flowai.evals.judges.schema_refusal import SchemaRefusals
from flowai.prompts import load_package_prompt, openai_messages
from flowai.providers import Request, create_client
from flowai.storage.jsonl import AppendLog, read_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.providers import Completion
    from flowai.upgrades.spending import Spending
    from flowai.workspace.workspace import Workspace

FILE_NAME = "templates.jsonl"
TOTAL_TIMEOUT_S = 180.0


class TemplateReply(msgspec.Struct, frozen=True, kw_only=True):
    """Reply of the writing model: a line of the file."""

    digest: str
    """Hash of model and request."""
    template: str | None
    """None if the reply has no template."""
    cost_usd: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateWriter:
    """Rewrites templates."""

    workspace: Workspace
    model: str
    """Name in the registry."""
    spending: Spending

    def rewrite(self, template: str, failures: Sequence[str], problem: str | None) -> str | None:
        """Return a new template; None if the model gave none, or the limit of cost is reached.

        Raises:
            MissingKeyError: its key is not set.
        """
        workspace = self.workspace
        path = workspace.project.upgrades / FILE_NAME
        digest = hashlib.sha256(repr((self.model, template, tuple(failures), problem)).encode()).hexdigest()[:16]
        kept = [item for item in read_lines(path, TemplateReply, name=str(path)).records if item.digest == digest]
        if kept:
            self.spending.kept_count += 1
            self.spending.add([kept[-1].cost_usd])
            return kept[-1].template
        if self.spending.left_usd == 0:
            return None
        values = {"template": template, "failures": list(failures), **({"problem": problem} if problem else {})}
        completion = asyncio.run(self._call(values))
        if completion is None:
            return None
        self.spending.add([completion.cost_usd])
        reply = TemplateReply(digest=digest, template=_template_of(completion.text), cost_usd=completion.cost_usd)
        with closing(AppendLog(path)) as log:
            log.append(reply)
        return reply.template

    async def _call(self, values: Mapping[str, object]) -> Completion | None:
        prompt = load_package_prompt(__package__, "prompts/rewrite_template.prompt")
        request = Request(
            endpoint=self.workspace.resolve_endpoint(self.model),
            messages=tuple(openai_messages(prompt.render(values).messages)),
            params=prompt.config,
            response_schema=prompt.output_schema,
            first_token_timeout_s=TOTAL_TIMEOUT_S,
            total_timeout_s=TOTAL_TIMEOUT_S,
        )
        client = create_client(redactor=self.workspace.redactor)
        try:
            return await SchemaRefusals().complete(request, client.complete)
        except CallError:
            return None
        finally:
            await client.aclose()


def _template_of(text: str) -> str | None:
    try:
        found = reply_object(text).get("template")
    except GraderReplyError:
        return None
    return found if isinstance(found, str) and found.strip() else None
