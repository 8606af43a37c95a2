"""Decides whether the candidate of a rollout is responsible for failures, with evidence for an automatic rollback.

Below 100 %, candidate and baseline are compared by feature. At 100 %, the baseline has no users; then the features that
the candidate changed are compared with the others, by provider. Ten failures of one user in an hour count as one, and
the evidence must hold without any one caller.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from flowai.comparison.counts import TopCaller
from flowai.statistics import Block, RatioEProcess
from flowai.watch.error_rates import LONG_MINUTES, CallCount, CountKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowai.watch.error_rates import AlertRule, BurnWindows

Side = Literal["candidate", "control"]
AttributionVerdict = Literal[
    "candidate_worse", "single_caller", "both_worse", "not_proven", "no_control_traffic", "recovered"
]
"""`candidate_worse`: the candidate fails and the control does not. `single_caller`: so it is, but not without the calls
of one caller. `both_worse`: both fail. `not_proven`: not enough
evidence. `no_control_traffic`: the control has no users. `recovered`: the candidate failed, but no longer does."""

ALPHA = 1e-4
"""Probability that a check blames a release that is no worse; the checks of an hour share most calls."""

MIN_FAILED_COUNT = 5
"""Minimum number of users with a failure."""

MIN_TOP_FAILURES = 2
"""Failures of a caller whose calls are left out: a caller with one failure is like a user, and five users failed."""

CONTROL_ALSO_FAILS_RATIO = 0.25
"""The control is worse too if its failure rate exceeds the limit and this share of the candidate's rate."""

BLOCK_MINUTES = 5
MAX_USERS = 20_000
_ALL = 1 << 32


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateRelease:
    """A release that may be responsible for failures."""

    release: str
    changed: frozenset[str]
    """Features that it serves differently from the baseline."""
    is_full: bool
    """Whether it is at 100 %."""
    since_minute: int
    """First minute of its current stage, minutes since 1970 (UTC)."""

    def side(self, cell: CountKey) -> Side | None:
        """Return the side of a call; None if it belongs to neither."""
        if cell.feature in self.changed and cell.release == self.release:
            return "candidate" if self.is_full or cell.variant == "canary" else None
        if self.is_full:
            return None if cell.feature in self.changed or not cell.feature else "control"
        is_baseline = cell.variant in ("control", "stable") and cell.release != self.release
        return "control" if is_baseline and cell.feature in self.changed else None

    def is_own_call(self, cell: CountKey) -> bool:
        """Return whether the release served a call."""
        return self.side(cell) == "candidate"

    def stratum(self, cell: CountKey) -> str:
        """Return the stratum in which both sides are compared: the feature; at 100 % the provider."""
        return cell.provider if self.is_full else cell.feature


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribution:
    """Result of an attribution."""

    verdict: AttributionVerdict
    candidate: CallCount
    """Users of the release, and users with a failure."""
    control: CallCount
    """Users of the control, and users with a failure."""
    log_e: float
    """Natural logarithm of the e-value that the release fails more often."""
    top_caller: TopCaller | None = None
    """With the verdict `single_caller`: that caller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _SampledUser:
    """A user, or a call without one, in the last hour."""

    minute: int
    """Of the first call."""
    failed: bool
    caller: int | None
    """Hash of the caller; None for a call from Python without a user."""


class UserSample:
    """Sample of the users of the last hour, with whether one of their calls failed.

    A user counts once for an hour from the first call. A call without user or session counts by itself: a call id
    decides its arm, so that one caller's calls are in several. Membership depends on a hash of the user or call alone,
    so that both sides are sampled alike.

    Args:
        max_count: maximum size of the sample.
    """

    def __init__(self, max_count: int = MAX_USERS) -> None:
        self._max_count = max_count
        self._hash_limit = _ALL
        self._users: dict[tuple[int, str, str, str, str], _SampledUser] = {}

    def __len__(self) -> int:
        """Return the size of the sample."""
        return len(self._users)

    def add(self, minute: int, user: str, cell: CountKey, *, caller: str | None) -> None:
        """Add a call that was sent to a model.

        Args:
            minute: start of the call, minutes since 1970 (UTC).
            user: user hash, else session or call id.
            cell: attributes of the call.
            caller: user hash, else session or caller hash; None if the call has none of them.
        """
        user_hash = _hash(user)
        if user_hash >= self._hash_limit:
            return
        key = (user_hash, cell.feature, cell.provider, cell.release, cell.variant)
        failed = bool(cell.error)
        known = self._users.get(key)
        if known is None or minute - known.minute >= LONG_MINUTES:
            caller_hash = None if caller is None else _hash(caller)
            self._users[key] = _SampledUser(minute=minute, failed=failed, caller=caller_hash)
            if len(self._users) > self._max_count:
                self._thin_out()
        elif failed and not known.failed:
            self._users[key] = replace(known, failed=True)

    def drop_before(self, before_minute: int) -> None:
        """Drop older users; if few remain, sample a larger share of new ones."""
        self._users = {key: one for key, one in self._users.items() if one.minute >= before_minute}
        if self._hash_limit < _ALL and len(self._users) < self._max_count // 8:
            self._hash_limit *= 2

    def _thin_out(self) -> None:
        while len(self._users) > self._max_count // 2 and self._hash_limit > 1:
            self._hash_limit //= 2
            self._users = {key: one for key, one in self._users.items() if key[0] < self._hash_limit}

    def top_caller(self, suspect: CandidateRelease) -> TopCaller | None:
        """Return the caller with the most failures of the candidate; None if none has two.

        A user has one in each stratum at most, and is never the evidence.
        """
        failures: dict[int | None, set[tuple[int, str]]] = {}
        for user_hash, cell, side, one in self._divide(suspect):
            if side == "candidate" and one.failed:
                failures.setdefault(one.caller, set()).add((user_hash, suspect.stratum(cell)))
        counts = {caller: len(units) for caller, units in failures.items() if caller is not None}
        top = max(sorted(counts), key=counts.__getitem__, default=None)
        if top is None or counts[top] < MIN_TOP_FAILURES:
            return None
        total = sum(len(units) for units in failures.values())
        return TopCaller(top, counts[top], total)

    def sides(self, suspect: CandidateRelease, *, without: int | None = None) -> ArmTallies:
        """Divide the users into candidate and control, `without` the calls of a caller."""
        seen: dict[tuple[int, str, Side], tuple[int, bool]] = {}
        for user_hash, cell, side, one in self._divide(suspect):
            if without is not None and one.caller == without:
                continue
            key = (user_hash, suspect.stratum(cell), side)
            before = seen.get(key, (one.minute, False))
            seen[key] = (min(one.minute, before[0]), one.failed or before[1])
        return ArmTallies((stratum, side, minute, failed) for (_, stratum, side), (minute, failed) in seen.items())

    def _divide(self, suspect: CandidateRelease) -> Iterator[tuple[int, CountKey, Side, _SampledUser]]:
        """Yield the users of this stage with their side."""
        for (user_hash, feature, provider, release, variant), one in self._users.items():
            cell = CountKey(feature=feature, provider=provider, release=release, variant=variant)
            side = suspect.side(cell) if one.minute >= suspect.since_minute else None
            if side is not None:
                yield user_hash, cell, side, one


def _hash(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "replace"))


class ArmTallies:
    """Users of both sides by stratum and block.

    Args:
        users: stratum, side, minute, and whether a call failed.
    """

    def __init__(self, users: Iterable[tuple[str, Side, int, bool]]) -> None:
        self._blocks: dict[tuple[int, str], list[int]] = {}
        for stratum, side, minute, failed in users:
            counts = self._blocks.setdefault((minute // BLOCK_MINUTES, stratum), [0, 0, 0, 0])
            first = 0 if side == "candidate" else 2
            counts[first] += 1
            counts[first + 1] += failed

    def tallies(self) -> tuple[CallCount, CallCount]:
        """Return the counts of candidate and control, in strata with users of the candidate."""
        strata = {stratum for (_, stratum), counts in self._blocks.items() if counts[0]}
        sums = [0, 0, 0, 0]
        for (_, stratum), counts in self._blocks.items():
            if stratum in strata:
                sums = [total + count for total, count in zip(sums, counts, strict=True)]
        return (
            CallCount(call_count=sums[0], failure_count=sums[1]),
            CallCount(call_count=sums[2], failure_count=sums[3]),
        )

    def log_e(self, *, margin: float) -> float:
        """Return the log e-value that the candidate fails more often, by more than the margin."""
        evidence = RatioEProcess(margin=margin)
        for (_, stratum), counts in sorted(self._blocks.items()):
            block = Block(
                candidate_count=counts[0],
                candidate_failure_count=counts[1],
                control_count=counts[2],
                control_failure_count=counts[3],
            )
            evidence.add(block, stream=stratum)
        return evidence.log_e


def attribute(suspect: CandidateRelease, users: UserSample, windows: BurnWindows, rule: AlertRule) -> Attribution:
    """Decide whether a release is responsible for failures.

    It is if at least five users met a failure, their rate exceeds the limit and still does, the evidence reaches
    1 / `ALPHA`, the control fails less, and all this holds without the caller with the most failures, too. Features
    differ in failure rate even without incidents: at 100 % they may differ by the rule's limit.
    """
    attribution = _attribute(suspect, users.sides(suspect), windows, rule)
    if attribution.verdict != "candidate_worse":
        return attribution
    top = users.top_caller(suspect)
    if top is None:
        return attribution
    rest = _attribute(suspect, users.sides(suspect, without=top.caller), windows, rule)
    return (
        attribution
        if rest.verdict == "candidate_worse"
        else replace(attribution, verdict="single_caller", top_caller=top)
    )


def _attribute(suspect: CandidateRelease, sides: ArmTallies, windows: BurnWindows, rule: AlertRule) -> Attribution:
    candidate, control = sides.tallies()
    log_e = sides.log_e(margin=min(rule.error_rate, 0.99) if suspect.is_full else 0.0)
    fails = candidate.failure_count >= MIN_FAILED_COUNT and candidate.rate > rule.error_rate
    verdict: AttributionVerdict = "not_proven"
    if not control.call_count:
        verdict = "no_control_traffic"
    elif fails and control.rate > rule.error_rate and control.rate >= CONTROL_ALSO_FAILS_RATIO * candidate.rate:
        verdict = "both_worse"
    elif fails and log_e >= -math.log(ALPHA):
        sent = windows.of(lambda cell: cell.was_tried and suspect.is_own_call(cell))
        verdict = "candidate_worse" if sent.short.rate > rule.error_rate else "recovered"
    return Attribution(verdict=verdict, candidate=candidate, control=control, log_e=log_e)
