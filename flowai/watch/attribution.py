"""Whether a release being rolled out is to blame for failures, with evidence that a machine may act on.

During a rollout the candidate stands against the baseline, feature by feature. At 100 % nobody is served by the
baseline; then the features that the candidate changed stand against those it did not change, provider by provider.
Users count once in an hour: ten failures of one user are one.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flowai.statistics import Block, RatioEProcess
from flowai.watch.error_rates import LONG_MINUTES, CallCount, CountKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.watch.error_rates import AlertRule, BurnWindows

Side = Literal["accused", "witness"]
AttributionVerdict = Literal["to_blame", "both_suffer", "not_proven", "no_witness", "recovered"]
"""`to_blame`: the release fails, and those who stand against it do not. `both_suffer`: they fail too. `not_proven`: the
evidence is not enough. `no_witness`: nobody stands against it. `recovered`: it failed, but no longer does."""

ALPHA = 1e-4
"""Chance that one look blames a release that is no worse; the looks of an hour have most of their calls in common."""

MIN_FAILED_COUNT = 5
"""So many users must have failed."""

CONTROL_ALSO_FAILS_RATIO = 0.25
"""Witnesses suffer too when they fail more than the rule bears, and at least so often as compared with the accused."""

BLOCK_MINUTES = 5
MAX_UNITS = 20_000
_ALL = 1 << 32


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateRelease:
    """A release that may be to blame."""

    release: str
    """The release."""
    changed: frozenset[str]
    """Features that it serves differently from the baseline."""
    is_whole: bool
    """Whether it serves everybody (100 %)."""
    since_minute: int
    """The first minute in which its share was what it is now."""

    def side(self, cell: CountKey) -> Side | None:
        """Say on which side a call stands; None when it tells nothing."""
        if cell.feature in self.changed and cell.release == self.release:
            return "accused" if self.is_whole or cell.variant == "canary" else None
        if self.is_whole:
            return None if cell.feature in self.changed or not cell.feature else "witness"
        is_baseline = cell.variant in ("control", "stable") and cell.release != self.release
        return "witness" if is_baseline and cell.feature in self.changed else None

    def is_own_call(self, cell: CountKey) -> bool:
        """Tell whether a call is one of the release's own."""
        return self.side(cell) == "accused"

    def stratum(self, cell: CountKey) -> str:
        """Say within what both sides are alike: the feature, at 100 % the provider."""
        return cell.provider if self.is_whole else cell.feature


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribution:
    """What the evidence says."""

    verdict: AttributionVerdict
    """See `Verdict`."""
    accused: CallCount
    """Users of the release, and those of them who met a failure."""
    witness: CallCount
    """Users who stand against it."""
    log_e: float
    """Natural logarithm of the evidence that the release fails more often."""


class UserSample:
    """Users of the last hour, or a random part of them where they are many: who called, and whether it failed.

    A user counts from the first call on for an hour, as one, however often it calls; who is drawn depends on a hash of
    the user alone, so that both sides are drawn alike.

    Args:
        most_count: how many are kept at most.
    """

    def __init__(self, most_count: int = MAX_UNITS) -> None:
        self._most_count = most_count
        self._below = _ALL
        self._units: dict[tuple[int, str, str, str, str], tuple[int, bool]] = {}

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._units)

    def add(self, minute: int, unit: str, cell: CountKey) -> None:
        """Note a call that a model was asked for.

        Args:
            minute: when it began, minutes since 1970 (UTC).
            unit: the user, session or call.
            cell: where the call belongs.
        """
        drawn = zlib.crc32(unit.encode("utf-8", "replace"))
        if drawn >= self._below:
            return
        key = (drawn, cell.feature, cell.provider, cell.release, cell.variant)
        failed = bool(cell.error)
        known = self._units.get(key)
        if known is None or minute - known[0] >= LONG_MINUTES:
            self._units[key] = (minute, failed)
            if len(self._units) > self._most_count:
                self._thin_out()
        elif failed and not known[1]:
            self._units[key] = (known[0], True)

    def forget(self, before_minute: int) -> None:
        """Drop who came earlier; where few are left, draw more of those who come."""
        self._units = {key: one for key, one in self._units.items() if one[0] >= before_minute}
        if self._below < _ALL and len(self._units) < self._most_count // 8:
            self._below *= 2

    def _thin_out(self) -> None:
        while len(self._units) > self._most_count // 2 and self._below > 1:
            self._below //= 2
            self._units = {key: one for key, one in self._units.items() if key[0] < self._below}

    def sides(self, suspect: CandidateRelease) -> ArmTallies:
        """Divide them between a suspect and those who stand against it."""
        seen: dict[tuple[int, str, Side], tuple[int, bool]] = {}
        for (drawn, feature, provider, release, variant), (minute, failed) in self._units.items():
            if minute < suspect.since_minute:
                continue
            cell = CountKey(feature=feature, provider=provider, release=release, variant=variant)
            side = suspect.side(cell)
            if side is None:
                continue
            key = (drawn, suspect.stratum(cell), side)
            before = seen.get(key, (minute, False))
            seen[key] = (min(minute, before[0]), failed or before[1])
        return ArmTallies((stratum, side, minute, failed) for (_, stratum, side), (minute, failed) in seen.items())


class ArmTallies:
    """Users of both sides by stratum and block of time.

    Args:
        users: stratum, side, minute, whether a call failed.
    """

    def __init__(self, users: Iterable[tuple[str, Side, int, bool]]) -> None:
        self._blocks: dict[tuple[int, str], list[int]] = {}
        for stratum, side, minute, failed in users:
            counts = self._blocks.setdefault((minute // BLOCK_MINUTES, stratum), [0, 0, 0, 0])
            first = 0 if side == "accused" else 2
            counts[first] += 1
            counts[first + 1] += failed

    def tallies(self) -> tuple[CallCount, CallCount]:
        """Give the accused and the witnesses, of strata that have accused."""
        strata = {stratum for (_, stratum), counts in self._blocks.items() if counts[0]}
        sums = [0, 0, 0, 0]
        for (_, stratum), counts in self._blocks.items():
            if stratum in strata:
                sums = [one + other for one, other in zip(sums, counts, strict=True)]
        return (
            CallCount(call_count=sums[0], failure_count=sums[1]),
            CallCount(call_count=sums[2], failure_count=sums[3]),
        )

    def log_e(self, *, margin: float) -> float:
        """Give the evidence that the accused fail more often, by more than the margin."""
        evidence = RatioEProcess("worse", margin=margin)
        for (_, stratum), counts in sorted(self._blocks.items()):
            block = Block(
                candidate_count=counts[0],
                candidate_failure_count=counts[1],
                control_count=counts[2],
                control_failure_count=counts[3],
            )
            evidence.add(block, stream=stratum)
        return evidence.log_e


def attribute(suspect: CandidateRelease, units: UserSample, spans: BurnWindows, rule: AlertRule) -> Attribution:
    """Say whether a release is to blame.

    It is when five users at least met a failure of it, more often than the rule bears, and still do; when chance gives
    so much evidence once in 10,000; and when those who stand against it fare better. Different features fail at
    different rates even in good times: at 100 % they may differ by as much as the rule bears.

    Args:
        suspect: the release.
        units: users.
        spans: calls, which say whether it still goes on.
        rule: what is borne.
    """
    sides = units.sides(suspect)
    accused, witness = sides.tallies()
    log_e = sides.log_e(margin=min(rule.error_rate, 0.99) if suspect.is_whole else 0.0)
    fails = accused.failure_count >= MIN_FAILED_COUNT and accused.rate > rule.error_rate
    verdict: AttributionVerdict = "not_proven"
    if not witness.call_count:
        verdict = "no_witness"
    elif fails and witness.rate > rule.error_rate and witness.rate >= CONTROL_ALSO_FAILS_RATIO * accused.rate:
        verdict = "both_suffer"
    elif fails and log_e >= -math.log(ALPHA):
        goes_on = spans.of(suspect.is_own_call).short.rate > rule.error_rate
        verdict = "to_blame" if goes_on else "recovered"
    return Attribution(verdict=verdict, accused=accused, witness=witness, log_e=log_e)
