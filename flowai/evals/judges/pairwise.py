"""The judge that compares two answers to a request: its prompt, its requests, its replies.

A comparison is asked for in both orders. `upgrade` compares logged answers with it, `judge check` labelled ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from flowai.evals.assertions.graded.replies import GraderReplyError, reason_of, reply_object
from flowai.evals.judges.default_grader import default_grader
from flowai.evals.judges.schema_refusal import SchemaRefusals
from flowai.prompts import load_package_prompt, openai_messages
from flowai.providers import Request

if TYPE_CHECKING:
    from flowai.prompts import Prompt
    from flowai.providers import Client, Completion, Endpoint
    from flowai.workspace.workspace import Workspace

PREFERENCE_NAME = "preference"
"""Judged property of comparisons of two answers."""

Better = Literal["first", "second", "equal"]
BETTER_WORDS: tuple[Better, ...] = ("first", "second", "equal")


class PairwiseReply(NamedTuple):
    """Reply of the judge about two answers."""

    better: Better | None
    """None if the reply names none."""
    reason: str


def pairwise_prompt() -> Prompt:
    """Return the prompt of the comparison."""
    return load_package_prompt(__package__, "prompts/compare_answers.prompt")


def pairwise_model(workspace: Workspace, named: str | None) -> str | None:
    """Return the model that compares: the named one, else that of the feature `judge`, else the default grader."""
    if named is not None:
        return named
    grader = default_grader(workspace.registry, workspace.release, workspace.environ)
    return None if grader is None else grader.model


class PairwiseJudge:
    """Compares two answers in the given order.

    Args:
        client: calls the model; it is not closed here.
        endpoint: of the model, with its key.
    """

    def __init__(self, client: Client, endpoint: Endpoint) -> None:
        self._client = client
        self._endpoint = endpoint
        self._prompt = pairwise_prompt()
        self._refusals = SchemaRefusals()

    async def ask(self, request: str, first: str, second: str) -> Completion:
        """Return the judge's reply; `read_preference` reads it.

        Raises:
            CallError: the call failed.
        """
        values = {"request": request, "first": first, "second": second}
        sent = Request(
            endpoint=self._endpoint,
            messages=tuple(openai_messages(self._prompt.render(values).messages)),
            params=dict(self._prompt.config),
            response_schema=self._prompt.output_schema,
        )
        return await self._refusals.complete(sent, self._client.complete)


def read_preference(text: str) -> PairwiseReply:
    """Return the better answer by its position, and the reason."""
    try:
        reply = reply_object(text)
    except GraderReplyError:
        return PairwiseReply(None, "")
    word = str(reply.get("better", "")).strip().lower()
    return PairwiseReply(next((one for one in BETTER_WORDS if one == word), None), reason_of(reply))
