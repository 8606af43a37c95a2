"""Decides which side of a rollout and which arm of an experiment a call falls on, the same way in every process.

Anything written in another language can repeat it: docs/reference/assignment.md says how, with test vectors.
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
    """Who or what is assigned as one."""

    name: str
    """The user, else the session, else the call id."""
    is_sticky: bool
    """Whether the same asker comes back under this name; False for a call id, whose calls are left out of statistics
    per user."""


def assignment_unit(*, user: str | None, session: str | None, call_id: str) -> AssignmentUnit:
    """Choose what is assigned as one.

    Args:
        user: who asks; an empty name is none, or all anonymous users would be one.
        session: the conversation; stands in for the user.
        call_id: stands in where there is neither.
    """
    if name := user or session:
        return AssignmentUnit(name=name, is_sticky=True)
    return AssignmentUnit(name=call_id, is_sticky=False)


def bucket(salt: str, unit: str) -> int:
    """Give the bucket of a unit: 0 to 9,999, evenly spread, independent between salts.

    The first 8 bytes of SHA-256 over `salt`, a zero byte and `unit` in UTF-8, as a big-endian number, modulo 10,000.
    The remainder favours low buckets by less than one part in 10^15.

    Args:
        salt: what is assigned (`rollout:v2`); holds no zero byte.
        unit: who is assigned, character by character: neither trimmed nor normalised nor case-folded. Half a surrogate
            pair counts as U+FFFD.
    """
    text = f"{salt}\0{unit}"
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = _LONE_SURROGATE.sub("\ufffd", text).encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") % BUCKET_COUNT


def assign_variant(
    *,
    candidate: str,
    stage: int | Literal["dogfood"],
    unit: str,
    critical: bool,
    critical_from: int,
    flagged: bool,
) -> Variant:
    """Decide which side of a rollout serves a call.

    The canary takes the low end of the buckets and the control, of equal size as long as there are enough buckets, the
    high end. So a larger share only adds to the canary, and none who is in it leaves.

    Args:
        candidate: the release being rolled out.
        stage: `dogfood`, or the percentage it has reached, 0 to 100.
        unit: name of the Unit.
        critical: whether the feature joins late.
        critical_from: first percentage at which critical features join.
        flagged: whether the request asks for the candidate, see `is_flagged`.

    Returns:
        `dogfood` and `canary` are served by the candidate, `control` and `stable` by the baseline.
    """
    if flagged:
        return "dogfood"
    if stage == "dogfood" or (critical and stage < critical_from):
        return "stable"
    if stage >= FULL_PERCENT:
        return "canary"
    place = bucket(f"rollout:{candidate}", unit)
    canary_count = stage * _PER_PERCENT
    control_count = min(stage, FULL_PERCENT - stage) * _PER_PERCENT
    if place < canary_count:
        return "canary"
    return "control" if place >= BUCKET_COUNT - control_count else "stable"


def assign_arm(*, experiment: str, arms: Collection[str], unit: str) -> str:
    """Decide which arm of an experiment a call belongs to; all arms have equal shares, to one bucket.

    Args:
        experiment: its name.
        arms: names of its arms, one at least; their order does not matter, they are taken by code points.
        unit: name of the Unit.
    """
    names = sorted(arms)
    return names[bucket(f"experiment:{experiment}", unit) * len(names) // BUCKET_COUNT]


def is_flagged(headers: Mapping[str, str], *, header: str, value: str) -> bool:
    """Say whether a request asks for the candidate.

    Args:
        headers: the caller's headers, as they came; anything may stand in them.
        header: name of the flag's header; ASCII upper and lower case are the same.
        value: what switches it on, exactly; it may stand in a list with commas. An empty one switches nothing on.
    """
    if not value:
        return False
    wanted = header.lower()
    for name, text in headers.items():
        if name.isascii() and name.lower() == wanted and any(item.strip(" \t") == value for item in text.split(",")):
            return True
    return False
