"""Records of a training set: golden pairs, quarantined pairs, counts per cleaning step."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

SCHEMA_VERSION = 1

UserVerdict = Literal["accepted", "edited", "rejected"]
"""Result of a user's feedback: `accepted` (also saved, thumbs up), `edited` (with the text), `rejected` (also thumbs
down)."""

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
"""Why a pair is not in the training files. `broken` .. `conflicting`: the log has no complete pair. `trivial_edit`,
`rewrite`: a reviewer decides first. `empty` .. `repetition`: quality. `control_token`, `secret`, `toxic`: harmful to
learn. `exact_duplicate`, `near_duplicate`: another pair is kept. `leak_...`: it contains an evaluation case.
`split_conflict`: its session began in another split. `format`: the format cannot represent it. `declined`: a reviewer
rejected it. `disputed`: reviewers disagree."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A golden pair: the request, the model's answer, the user's verdict."""

    id: Annotated[str, Meta(min_length=1)]
    """The call's id; it identifies the pair in every file and decision."""
    at: str
    """Time of the call (RFC 3339, UTC)."""
    feature: str
    release: str | None = None
    """None for calls outside releases."""
    prompt_id: str | None = None
    """None for messages that were sent without a prompt of the project."""
    prompt_hash: str | None = None
    model: str | None = None
    """Name that the provider reports, else the registry's."""
    user_hash: str | None = None
    session: str | None = None
    tenant: str | None = None
    messages: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1)]
    """The request in OpenAI's chat format."""
    output: str
    opinion: UserVerdict
    edit: str | None = None
    """The answer as edited by the user; None unless the opinion is `edited`."""

    @property
    def answer(self) -> str | None:
        """The answer to learn: the edit, or the accepted output; None for a rejected answer."""
        if self.opinion == "edited":
            return self.edit
        return self.output if self.opinion == "accepted" else None


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A pair, or a line of the log, that is not in the training files: one line of the quarantine file."""

    schema_version: int = SCHEMA_VERSION
    id: str
    """The call's id; empty for a line without one."""
    step: str
    reason: QuarantineReason
    detail: str = ""
    """Explanation for a reader; never the private value itself."""
    needs_review: bool = False
    """Whether a reviewer may accept it."""
    pair: Pair | None = None
    """The pair with the changes of all steps before, if a reviewer may accept it; else None."""


class StepCount(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one cleaning step."""

    step: str
    in_count: int
    out_count: int
    """`in_count` minus the sum of `rejected`."""
    changed_count: int = 0
    """Pairs that passed with changes (scrubbed)."""
    rejected: dict[QuarantineReason, int] = {}
    findings: dict[str, int] = {}
    """Replaced values by entity type (`EMAIL`)."""
