"""Record of what a provider says about a model."""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec

LiveStatus = Literal["listed", "not_listed", "failed", "not_asked"]
"""`failed`: the provider was asked, or should have been, and did not answer. `not_asked`: there is nothing to ask."""


class LiveModel(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's word on a model."""

    status: LiveStatus
    reason: str | None = None
    """Why it could not be asked; None if it was. Secrets redacted."""
    is_key_refused: bool = False
    end_date: date | None = None
    """None if the list has none."""
    replacement: str | None = None
    """None if the list names none."""
    is_deprecated: bool = False
    """Whether the provider says that it is deprecated or not active."""
