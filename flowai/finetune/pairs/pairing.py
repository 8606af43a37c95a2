"""Makes golden pairs of calls and of what their users said.

One pair serves every format: its answer is a row to imitate, an edit is also preferred over the model's own answer, and
each is good or bad by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.finetune.pairs.edits import kind_of_edit
from flowai.finetune.records import Pair, Quarantined
from flowai.timestamps import format_rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowai.events import CallEvent, FeedbackVerdict
    from flowai.finetune.records import QuarantineReason, UserVerdict

STEP = "pairs"

FEEDBACK_PRECEDENCE: dict[FeedbackVerdict, int] = {
    "edited": 0,
    "rejected": 1,
    "thumbs_down": 2,
    "accepted": 3,
    "thumbs_up": 4,
    "saved": 5,
}
"""Of words said at the same moment the last of these counts, as in verdicts and figures."""

_BAD: frozenset[FeedbackVerdict] = frozenset({"rejected", "thumbs_down"})


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackItem:
    """One thing a user said of an answer."""

    at_us: int
    """When, microseconds since 1970."""
    verdict: FeedbackVerdict
    """What."""
    text: str | None = None
    """The answer as they edited it; None for other verdicts, or where it was not kept."""


def user_verdict(words: Iterable[FeedbackItem]) -> tuple[UserVerdict, str | None]:
    """Give what a user made of an answer in the end, and the text of their edit.

    The last word counts. A good word after an edit is said of the edited text, so that the edit stands.

    Args:
        words: at least one, in any order.

    Returns:
        The opinion; for `edited` the text, None where it was not kept.
    """
    opinion: UserVerdict = "rejected"
    text: str | None = None
    for word in sorted(words, key=lambda one: (one.at_us, FEEDBACK_PRECEDENCE[one.verdict], one.text or "")):
        if word.verdict == "edited":
            opinion, text = "edited", word.text
        elif word.verdict in _BAD:
            opinion, text = "rejected", None
        elif opinion != "edited":
            opinion = "accepted"
    return opinion, text


def pair_of(call: CallEvent, words: Iterable[FeedbackItem]) -> Pair | Quarantined:
    """Make the pair of a call that was judged.

    Args:
        call: the call.
        words: what its user said, at least one.
    """
    opinion, edit = user_verdict(words)
    content = call.content
    fault = next(_problems(call, opinion, edit), None)
    if fault is not None or content is None or content.output is None:
        reason, detail = fault or ("no_content", "")
        return Quarantined(id=call.call_id, step=STEP, reason=reason, detail=detail)
    return Pair(
        id=call.call_id,
        at=format_rfc3339(call.at),
        feature=call.feature or "",
        release=call.release,
        prompt_id=call.prompt_id,
        prompt_hash=call.prompt_hash,
        model=call.served_model or call.requested_model,
        user_hash=call.user_hash,
        session=call.session,
        tenant=call.tenant,
        messages=content.messages,
        output=content.output,
        opinion=opinion,
        edit=edit,
    )


def _problems(call: CallEvent, opinion: UserVerdict, edit: str | None) -> Iterator[tuple[QuarantineReason, str]]:
    """Give what keeps a call from being a pair, the weightiest first."""
    content = call.content
    if call.error_class is not None:
        yield "broken", f"the call failed: {call.error_class}"
    if content is None:
        yield "no_content", "the log holds no content; set `log_content: redacted` for the feature"
    elif not content.messages:
        yield "broken", "the request has no message"
    elif not content.output:
        yield "empty", "the model answered without a text"
    if opinion == "edited" and edit is None:
        yield "no_text", "the edit's text was not kept"
    elif opinion == "edited" and not (edit or "").strip():
        yield "empty", "the user left nothing of the answer"
    if opinion == "accepted" and call.finish_reason == "length":
        yield "truncated", "the answer was cut off at its longest length"


def review_of(pair: Pair) -> Quarantined | None:
    """Say whether a person should look at a pair before a model learns it: the edit says nothing, or all anew."""
    if pair.opinion != "edited" or pair.edit is None:
        return None
    kind = kind_of_edit(pair.output, pair.edit)
    if kind == "real":
        return None
    return Quarantined(
        id=pair.id,
        step="review",
        reason="trivial_edit" if kind == "trivial" else "rewrite",
        detail="only case, spacing or punctuation changed" if kind == "trivial" else "hardly a word was left",
        needs_review=True,
        pair=pair,
    )
