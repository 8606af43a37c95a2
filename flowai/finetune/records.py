"""The records of a training set: golden pairs, what becomes of each, and what was kept out and why."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

SCHEMA_VERSION = 1

UserVerdict = Literal["accepted", "edited", "rejected"]
"""What the user made of an answer: `accepted` (also saved, thumbs up), `edited` (with the text), `rejected` (also
thumbs down)."""

Split = Literal["train", "validation", "test"]

QuarantineReason = Literal[
    "broken",
    "no_call",
    "no_content",
    "no_text",
    "conflicting",
    "trivial_edit",
    "rewrite",
    "empty",
    "too_short",
    "too_long",
    "language",
    "refusal",
    "truncated",
    "binary",
    "repetition",
    "control_token",
    "secret",
    "toxic",
    "exact_duplicate",
    "near_duplicate",
    "leak_exact",
    "leak_normalised",
    "leak_substring",
    "leak_near",
    "split_conflict",
    "format",
    "declined",
    "disputed",
]
"""Why a pair is not in the files: `broken` .. `conflicting`: the log does not give a whole pair. `trivial_edit`,
`rewrite`: a person should look at it first. `empty` .. `repetition`: quality. `control_token`, `secret`, `toxic`: it
would teach harm. `exact_duplicate`, `near_duplicate`: another pair says it. `leak_...`: an evaluation case is in it.
`split_conflict`: its session began on the other side of the split. `format`: the format cannot hold it. `declined`: a
reviewer turned it down. `disputed`: reviewers disagree."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A golden pair: what was asked, what the model answered, what its user made of it."""

    id: Annotated[str, Meta(min_length=1)]
    """The call's id; a pair is known by it in every file and decision."""
    at: str
    """When the call came (RFC 3339, UTC)."""
    feature: str
    """Whose call."""
    release: str | None = None
    """The release that served; None outside releases."""
    prompt_id: str | None = None
    """The prompt; None for messages given as they were."""
    prompt_hash: str | None = None
    """Its hash; None as above."""
    model: str | None = None
    """Name the provider reports, else the registry's; None where nobody says."""
    user_hash: str | None = None
    """Hash of the user; None when there was none."""
    session: str | None = None
    """The conversation; None when there was none."""
    tenant: str | None = None
    """Whose data it is; None where there is one tenant."""
    messages: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1)]
    """The request, OpenAI's chat format; at least one."""
    output: str
    """The model's answer."""
    opinion: UserVerdict
    """What the user made of it."""
    edit: str | None = None
    """The answer as the user edited it; None unless the opinion is `edited`."""

    @property
    def answer(self) -> str | None:
        """What a model should learn to say; None where nobody said what that is."""
        if self.opinion == "edited":
            return self.edit
        return self.output if self.opinion == "accepted" else None

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text that would reach a file: of the messages, the answer, the edit."""
        found = [text for message in self.messages for text in _texts(message.get("content"))]
        return (*found, self.output, *(() if self.edit is None else (self.edit,)))


def _texts(content: Any) -> list[str]:  # noqa: ANN401 - a message's content is a text, or parts
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A pair, or a line of the log, that is kept out: one line of the quarantine file."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format: 1."""
    id: str
    """The call's id; empty where a line gives none."""
    step: str
    """Which step of the cleaning kept it out."""
    reason: QuarantineReason
    """Why, as a code."""
    detail: str = ""
    """What was found, for a person; never the thing itself where it is private."""
    needs_review: bool = False
    """Whether a person may let it in."""
    pair: Pair | None = None
    """The pair, cleaned as far as it came, where a person may let it in; None otherwise."""


class StepCount(msgspec.Struct, frozen=True, kw_only=True):
    """What a step of the cleaning did."""

    step: str
    """Its name."""
    in_count: int
    """Pairs that came."""
    out_count: int
    """Pairs that went on; `in_count` less all of `rejected`."""
    changed_count: int = 0
    """Pairs that went on changed (scrubbed)."""
    kept_out: dict[QuarantineReason, int] = {}
    """Pairs by reason."""
    findings: dict[str, int] = {}
    """What was found and replaced, by kind (`EMAIL`)."""
