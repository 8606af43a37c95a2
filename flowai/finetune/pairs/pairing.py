"""Builds golden pairs from calls and their users' feedback. One pair serves every training format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.finetune.pairs.edits import classify_edit
from flowai.finetune.records import Pair, Quarantined
from flowai.providers.finish_reasons import finish_kind
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
"""Order of feedback with equal times: the last of these counts, as in verdicts and metrics."""

_NEGATIVE: frozenset[FeedbackVerdict] = frozenset({"rejected", "thumbs_down"})


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackItem:
    """A user's feedback on an answer."""

    at_us: int
    """Microseconds since 1970, UTC."""
    verdict: FeedbackVerdict
    text: str | None = None
    """The edited answer; None for other verdicts, or if it was not stored."""


def user_verdict(feedback: Iterable[FeedbackItem]) -> tuple[UserVerdict, str | None]:
    """Return the user's final verdict on an answer, and the text of their edit; None if it was not stored.

    The last feedback counts. Positive feedback after an edit refers to the edited text, so the edit is kept.
    """
    verdict: UserVerdict = "rejected"
    text: str | None = None
    for item in sorted(feedback, key=lambda item: (item.at_us, FEEDBACK_PRECEDENCE[item.verdict], item.text or "")):
        if item.verdict == "edited":
            verdict, text = "edited", item.text
        elif item.verdict in _NEGATIVE:
            verdict, text = "rejected", None
        elif verdict != "edited":
            verdict = "accepted"
    return verdict, text


def build_pair(call: CallEvent, feedback: Iterable[FeedbackItem]) -> Pair | Quarantined:
    """Build the pair of a call with at least one feedback item, or return why there is none."""
    opinion, edit = user_verdict(feedback)
    content = call.content
    problem = next(_problems(call, opinion, edit), None)
    if problem is not None or content is None or content.output is None:
        reason, detail = problem or ("no_content", "")
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
    """Yield the problems that prevent a pair, the most important first."""
    content = call.content
    if call.error_class is not None:
        yield "broken", f"the call failed: {call.error_class}"
    if content is None:
        yield "no_content", "the log has no content; set `log_content: redacted` for the feature"
    elif not content.messages:
        yield "broken", "the request has no message"
    elif not content.output:
        yield "empty", "the model answered without a text"
    if opinion == "edited" and edit is None:
        yield "no_text", "the text of the edit was not stored"
    elif opinion == "edited" and not (edit or "").strip():
        yield "empty", "the user deleted the whole answer"
    if opinion == "accepted" and call.finish_reason == "length":
        yield "truncated", "the answer was cut off at its maximum length"
    elif opinion == "accepted" and call.finish_reason is not None and finish_kind(call.finish_reason) != "ok":
        yield "truncated", f"the answer may be cut off: its finish reason is `{call.finish_reason}`"


def quarantine_doubtful_edit(pair: Pair) -> Quarantined | None:
    """Return the quarantine line of a trivial edit or a rewrite, which a reviewer must see first; else None."""
    if pair.opinion != "edited" or pair.edit is None:
        return None
    kind = classify_edit(pair.output, pair.edit)
    if kind == "real":
        return None
    return Quarantined(
        id=pair.id,
        step="review",
        reason="trivial_edit" if kind == "trivial" else "rewrite",
        detail="only case, spacing or punctuation changed" if kind == "trivial" else "hardly any word is unchanged",
        needs_review=True,
        pair=pair,
    )
