"""Decision on drift: false alarms and detection on simulated suites, and the stop rule that must agree with it."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from flowai.evals.drift.evidence import ALPHA, EARLY_SHARE, decide_group
from flowai.evals.drift.gate import CertainDrift, DriftRule
from flowai.evals.gates.records import CaseResult
from flowai.evals.reports import Trial
from flowai.statistics.paired_trials import PairedTrials

CASES = 200
GROUP = ("evals/s.yaml", "prompts/p_v1", "m")


def suite(
    rng: random.Random, *, shift: float, trials: tuple[int, int] = (3, 3), mean: float = 0.9
) -> list[PairedTrials]:
    """Draw a suite whose cases have rates of their own, and lose a share of them."""

    def draw(rate: float, count: int) -> tuple[float, ...]:
        return tuple(float(rng.random() < rate) for _ in range(count))

    pairs = []
    for _ in range(CASES):
        rate = rng.betavariate(mean, 1 - mean)
        now = rate * (1 - shift / mean) if shift >= 0 else rate - shift / (1 - mean) * (1 - rate)
        pairs.append(PairedTrials(before=draw(rate, trials[0]), after=draw(now, trials[1])))
    return pairs


@pytest.mark.parametrize("trials", [(3, 3), (1, 3), (5, 3)])
def test_an_unchanged_model_is_hardly_ever_called_drifted(trials: tuple[int, int]) -> None:
    rng = random.Random(15)  # noqa: S311 - a simulation
    found = Counter(decide_group(suite(rng, shift=0, trials=trials), margin=0.1).verdict for _ in range(150))
    assert found["drifted"] <= 4  # at most 1 %: 5 of 150 have a chance of 0.02
    assert found["not_drifted"] >= 140


@pytest.mark.parametrize(("shift", "mean", "direction"), [(0.1, 0.9, "worse"), (-0.1, 0.7, "better")])
def test_ten_points_are_found_either_way(shift: float, mean: float, direction: str) -> None:
    rng = random.Random(16)  # noqa: S311 - a simulation
    found: Counter[str | None] = Counter(
        decide_group(suite(rng, shift=shift, mean=mean), margin=0.1).direction for _ in range(60)
    )
    assert found[direction] >= 56


def test_both_directions_are_mirror_images() -> None:
    rng = random.Random(17)  # noqa: S311 - a simulation
    pairs = suite(rng, shift=0.07)
    swapped = [PairedTrials(before=pair.after, after=pair.before) for pair in pairs]
    first, second = decide_group(pairs, margin=0.05), decide_group(swapped, margin=0.05)
    assert (first.verdict, first.p_value, first.smallest_shift) == (
        second.verdict,
        second.p_value,
        second.smallest_shift,
    )
    assert first.interval.low == pytest.approx(-second.interval.high)
    assert {first.direction, second.direction} in ({"worse", "better"}, {None})


def same(count: int) -> list[PairedTrials]:
    return [PairedTrials(before=(1.0,), after=(1.0,))] * count


def lost(count: int) -> list[PairedTrials]:
    return [PairedTrials(before=(1.0,), after=(0.0,))] * count


def test_the_exact_test_decides_a_complete_run_only() -> None:
    pairs = [*same(20), *lost(9), *same(20)]
    complete, stopped = (decide_group(pairs, margin=0.1, is_complete=is_complete) for is_complete in (True, False))
    assert (complete.verdict, complete.direction) == ("drifted", "worse")
    assert complete.p_value == pytest.approx(2 / 2**9)
    assert complete.p_value <= ALPHA * (1 - EARLY_SHARE)
    assert stopped.verdict == "undecided"


def test_without_a_case_nothing_is_decided() -> None:
    decision = decide_group([], margin=0.1)
    assert (decision.verdict, decision.case_count, decision.smallest_shift) == ("undecided", 0, None)
    assert decision.interval.estimate is None


def test_few_cases_are_undecided_and_name_the_number_that_decides() -> None:
    decision = decide_group(same(20), margin=0.1)
    assert decision.verdict == "undecided"
    assert decision.smallest_shift is not None
    assert decision.smallest_shift >= 8 / 20  # fewer lost cases are no evidence at this alpha
    needed = decision.needed_case_count
    assert needed is not None
    assert decide_group(same(needed), margin=0.1).verdict == "not_drifted"


def test_a_smaller_share_of_alpha_needs_more_evidence() -> None:
    pairs = [*same(20), *lost(9), *same(20)]
    assert decide_group(pairs, margin=0.1, alpha=ALPHA / 4).verdict == "undecided"


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_stop_rule_agrees_with_the_decision_whatever_order_trials_finish_in(shift: float) -> None:
    rng = random.Random(18)  # noqa: S311 - a simulation
    pairs = suite(rng, shift=shift)
    names = [f"c{number}" for number in range(CASES)]
    baseline = {
        name: CaseResult(suite=GROUP[0], case=name, prompt=GROUP[1], model=GROUP[2], first=pair.before)
        for name, pair in zip(names, pairs, strict=True)
    }
    rule = DriftRule(
        name="nightly",
        baseline={GROUP: baseline},
        planned={(GROUP, name): 3 for name in names},
        margin=0.1,
        max_error_rate=0.05,
    )
    trials = [
        Trial(
            key=f"{name}::{repeat}",
            suite=GROUP[0],
            case=name,
            place="",
            prompt=GROUP[1],
            prompt_hash="",
            model=GROUP[2],
            repeat=repeat,
            cache="miss",
            outcome="pass" if passed else "fail",
        )
        for name, pair in zip(names, pairs, strict=True)
        for repeat, passed in enumerate(pair.after)
    ]
    expected = decide_group(pairs, margin=0.1)
    assert expected.is_early
    for reach in (1, 30):
        stop = CertainDrift(rule)
        waiting = list(trials)
        finished = Counter[str]()
        while waiting:
            trial = waiting.pop(rng.randrange(min(reach, len(waiting))))
            finished[trial.case] += 1
            if stop.stop_reason(trial) is not None:
                break
        certain_after = sum(finished[name] == 3 for name in names[: expected.case_count])
        assert certain_after == expected.case_count
        assert reach != 1 or finished.total() == 3 * expected.case_count
