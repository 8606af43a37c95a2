"""Checks feedback and scores, and adds the fields of their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import CallNotFoundError, UsageError
from flowai.events import ScoreEvent

if TYPE_CHECKING:
    from flowai.events import CallEvent, FeedbackEvent
    from flowai.registry import Registry

_CALL_FIELDS = ("tenant", "feature", "release", "variant", "experiment", "arm")


def with_call_fields(feedback: FeedbackEvent, call: CallEvent | None, registry: Registry) -> FeedbackEvent:
    """Return feedback with its call's fields; the text stays only if the feature logs content."""
    if call is None:
        return msgspec.structs.replace(feedback, text=None)
    feature = registry.features.get(call.feature or "")
    keeps_text = feature is not None and feature.log_content == "redacted"
    fields: dict[str, Any] = {name: getattr(call, name) for name in _CALL_FIELDS}
    return msgspec.structs.replace(
        feedback, text=feedback.text if keeps_text else None, user_hash=feedback.user_hash or call.user_hash, **fields
    )


def validate_score(score: ScoreEvent) -> ScoreEvent:
    """Check a score by the event schema; raises UsageError if it does not match."""
    try:
        return msgspec.convert(msgspec.to_builtins(score), ScoreEvent)
    except (msgspec.ValidationError, TypeError) as error:
        raise UsageError(f"invalid score: {error}", hint="`name` is the judged property; `score` is 0 to 1") from None


def call_not_found(call_id: str) -> CallNotFoundError:
    """Build the error for a call that is neither of this process nor in the log of today and yesterday."""
    return CallNotFoundError(
        f"no call `{call_id}` in this process or in the log of today and yesterday",
        hint="read older calls from the event log",
    )
