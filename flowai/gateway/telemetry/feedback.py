"""What people and judges make of answers: their events, checked and completed with what is known of the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import UsageError
from flowai.events import ScoreEvent

if TYPE_CHECKING:
    from flowai.events import CallEvent, FeedbackEvent
    from flowai.registry import Registry

_OF_THE_CALL = ("tenant", "feature", "release", "variant", "experiment", "arm")


def with_call_fields(said: FeedbackEvent, call: CallEvent | None, registry: Registry) -> FeedbackEvent:
    """Add to feedback what is known of its call, and keep the text only where the feature keeps what is said.

    Args:
        said: the feedback, with the text.
        call: the call; None where it is not known any more.
        registry: says what is kept.
    """
    if call is None:
        return msgspec.structs.replace(said, text=None)
    feature = registry.features.get(call.feature or "")
    keeps_text = feature is not None and feature.log_content == "redacted"
    facts: dict[str, Any] = {name: getattr(call, name) for name in _OF_THE_CALL}
    return msgspec.structs.replace(
        said, text=said.text if keeps_text else None, user_hash=said.user_hash or call.user_hash, **facts
    )


def validate_feedback(score: ScoreEvent) -> ScoreEvent:
    """Refuse a score that no reader of the log would take.

    Raises:
        UsageError: no name, no call, a score outside 0 to 1, or a value of the wrong type.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(score), ScoreEvent)
    except (msgspec.ValidationError, TypeError) as error:
        raise UsageError(f"not a score: {error}", hint="`name` says what was looked for; `score` is 0 to 1") from None
