"""Assigns calls to a rollout's variant and an experiment's arm, equally in every process.

Programs in other languages can repeat it: docs/reference/assignment.md has the rules and test vectors.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from flowai.events import Variant

BUCKET_COUNT = 10_000
FULL_PERCENT = 100
_PER_PERCENT = BUCKET_COUNT // FULL_PERCENT
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can carry halves of characters, which UTF-8 cannot


@dataclass(frozen=True, kw_only=True, slots=True)
class AssignmentUnit:
    """Identity that decides variant and arm."""

    name: str
    """The user, else the session, else the call id."""
    is_sticky: bool
    """The same caller comes back under this name; False for a call id, whose calls are not in statistics per user."""


def assignment_unit(*, user: str | None, session: str | None, call_id: str) -> AssignmentUnit:
    """Return the user, else the session, else the call id; an empty user counts as missing, not as one user."""
    if name := user or session:
        return AssignmentUnit(name=name, is_sticky=True)
    return AssignmentUnit(name=call_id, is_sticky=False)


def bucket(salt: str, unit: str) -> int:
    """Return the bucket of a unit: 0 to 9,999, uniform, independent between salts.

    The first 8 bytes of SHA-256 over `salt` (`rollout:v2`, no zero byte in it), a zero byte and `unit` in UTF-8, as a
    big-endian number, modulo 10,000. The remainder favours low buckets by less than one part in 10^15. `unit` is
    neither trimmed nor normalised nor case-folded; half a surrogate pair counts as U+FFFD.
    """
    text = f"{salt}\0{unit}"
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = _LONE_SURROGATE.sub("\ufffd", text).encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") % BUCKET_COUNT


def assign_variant(
    *, candidate: str, stage: int | Literal["dogfood"], unit: str, critical: bool, critical_from: int, flagged: bool
) -> Variant:
    """Return the rollout's variant of a call: the candidate serves `dogfood` and `canary`, else the baseline.

    The canary has the low end of the buckets; the control, of equal size as long as there are enough buckets, the high
    end. So a larger share only adds users to the canary. A `stage` is the percentage reached, 0 to 100, or `dogfood`;
    `critical` features join at `critical_from` percent. `flagged` requests ask for the candidate, see `is_flagged`.
    """
    if flagged:
        return "dogfood"
    if stage == "dogfood" or (critical and stage < critical_from):
        return "stable"
    if stage >= FULL_PERCENT:
        return "canary"
    number = bucket(f"rollout:{candidate}", unit)
    canary_count = stage * _PER_PERCENT
    control_count = min(stage, FULL_PERCENT - stage) * _PER_PERCENT
    if number < canary_count:
        return "canary"
    return "control" if number >= BUCKET_COUNT - control_count else "stable"


def assign_arm(*, experiment: str, arms: Collection[str], unit: str) -> str:
    """Return the experiment's arm of a call; all arms have equal shares, to one bucket.

    The order of `arms`, at least one, has no effect: they are sorted by code points.
    """
    names = sorted(arms)
    return names[bucket(f"experiment:{experiment}", unit) * len(names) // BUCKET_COUNT]


def is_flagged(headers: Mapping[str, str], *, header: str, value: str) -> bool:
    """Return whether a request asks for the candidate.

    The case of `header` has no effect; `value` is exact, also within a comma-separated list; an empty one sets nothing.
    """
    if not value:
        return False
    header_name = header.lower()
    for name, text in headers.items():
        if (
            name.isascii()
            and name.lower() == header_name
            and any(item.strip(" \t") == value for item in text.split(","))
        ):
            return True
    return False
