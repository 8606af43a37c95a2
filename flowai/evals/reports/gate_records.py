"""Records of the gate's comparisons: with a baseline, by slice, of a run with itself; flaky cases."""

from __future__ import annotations

import msgspec


class PairedComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Paired comparison with a baseline, of one prompt on one model; cases are the pairs."""

    suite: str
    """Path of the suite file."""
    prompt: str
    """Prompt id of the candidate."""
    model: str
    """Name in the registry."""
    baseline: str
    """Source of the baseline (`run 0412`, `evals/baselines/main.jsonl`)."""
    metric: str
    """`pass_rate`, or `metrics.NAME`."""
    method: str
    """Test that decided (`McNemar's exact test`)."""
    case_count: int
    """Cases that both sides judged."""
    unpaired_count: int
    """Cases here without a result in the baseline, or without a judgement."""
    worse_count: int
    """Cases whose mean is lower here."""
    better_count: int
    """Cases whose mean is higher here."""
    before: float | None
    """Mean over the cases of the baseline; None without a pair."""
    after: float | None
    """Mean over the cases here; None without a pair."""
    difference: float | None
    """`after` minus `before`; None without a pair."""
    low: float
    """Lower end of the interval of the difference."""
    high: float
    """Upper end of the interval of the difference."""
    confidence: float
    """Of the interval, two-sided: 1 - 2 alpha."""
    p_value: float
    """One-sided: that the candidate is worse."""
    alpha: float
    margin: float
    """Loss that is accepted."""
    passed: bool | None
    """True: a loss of more than the margin is excluded. False: it is worse. None: undecided."""
    needed_case_count: int | None = None
    """Cases that would probably decide; None if it is decided, or no number would."""
    note: str | None = None
    """The calibration that corrected a judged difference, or why it is shown and not judged; None for others."""
    worse_cases: tuple[str, ...] = ()
    """Ids of cases that turned worse, the largest losses first; at most 100."""


class SliceResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the cases of one slice."""

    suite: str
    """Path of the suite file."""
    name: str
    """`field=value` of metadata, or a tag."""
    case_count: int
    pass_rate: float | None
    """Mean over the cases; None if none was judged."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of its 95 % interval."""
    difference: float | None = None
    """Against the baseline; None without one."""
    p_value: float
    """One-sided, after Holm's correction: worse than the baseline or, without one, below the limit."""
    passed: bool
    """False if it is shown to be worse or below the limit."""


class FlakyCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case with passed and failed trials in one run."""

    suite: str
    """Path of the suite file."""
    case: str
    prompt: str
    model: str
    pass_count: int
    trial_count: int
    passed: bool
    """Whether enough trials passed."""
    earlier_count: int = 0
    """Earlier runs in which it was flaky too."""


class SelfComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The gate against itself: the trials of a run divided at random into two runs, many times."""

    round_count: int
    red_count: int
    """Rounds in which one half was called worse than the other."""
    undecided_count: int
    """Rounds in which neither "worse" nor "not worse" was shown."""
    flip_count: int
    """Rounds in which the limits gave the two halves different verdicts."""
    single_case_count: int
    """Cases with one trial only, which cannot differ between the halves."""
