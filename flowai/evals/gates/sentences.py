"""The verdict as one sentence: what was observed, how certain it is, and how many cases would decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.rendering.formatting import count, format_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.evals.reports.gate_records import FlakyCase, PairedComparison, SliceResult
    from flowai.evals.reports.records import GateCheck, GateDecision

VERDICTS = {
    "pass": "met",
    "fail": "not met",
    "error": "not decided, because of errors",
    "inconclusive": "undecided",
}
MAX_REASONS = 4
MISSING_RESULTS = "some cases have no result"


def verdict_sentence(
    decision: GateDecision,
    comparisons: Sequence[PairedComparison],
    slices: Sequence[SliceResult],
    flaky: Sequence[FlakyCase],
) -> str:
    """Return the verdict with its reasons, the unmet ones first."""
    if decision.verdict == "pass" and not decision.checks:
        return "Nothing was checked: no case has an assertion."
    against = {
        (item.suite, label): item for label, item in zip(comparison_labels(comparisons), comparisons, strict=True)
    }
    unmet_slices = {(item.suite, slice_label(item)): item for item in slices if not item.passed}
    order = {False: 0, None: 1, True: 2}
    checks = sorted(decision.checks, key=lambda check: order[check.passed])
    unmet = [check for check in checks if check.passed is not True]
    reasons: list[str] = []
    for check in unmet or [item for item in checks if item.case_count is not None]:
        if (check.suite, check.metric) in unmet_slices or len(reasons) == MAX_REASONS:
            continue
        comparison = against.get((check.suite, check.metric))
        reasons.append(check_sentence(check) if comparison is None else comparison_sentence(comparison))
    if decision.verdict == "inconclusive" and not unmet:
        reasons.append(MISSING_RESULTS)
    reasons += [slice_sentence(item) for item in unmet_slices.values()][:MAX_REASONS]
    if flaky:
        reasons.append(flaky_sentence(flaky))
    return f"The gate is {VERDICTS[decision.verdict]}" + (": " + "; ".join(reasons) if reasons else "") + "."


def comparison_labels(comparisons: Sequence[PairedComparison]) -> list[str]:
    """Return a name for each comparison, with its prompt and model where there are several."""
    groups = {(item.suite, item.prompt, item.model) for item in comparisons}
    labels = []
    for item in comparisons:
        is_several = sum(suite == item.suite for suite, _, _ in groups) > 1
        of = f" of {item.prompt} on {item.model}" if is_several else ""
        labels.append(f"{item.metric}{of} against {item.baseline}")
    return labels


def check_sentence(check: GateCheck) -> str:
    """Return a limit with the observed value and, if it has one, its interval."""
    if check.observed is None:
        return f"{check.metric}: {check.note or 'nothing measured'}"
    sign = "at least" if check.direction == "min" else "at most"
    text = f"{check.metric} {format_number(check.observed)}"
    if check.low is not None and check.high is not None:
        text += f" [{format_number(check.low)}, {format_number(check.high)}]"
    text += f", limit {sign} {format_number(check.threshold)}"
    needs = None if check.passed is not None else _needs(check.case_count, check.needed_case_count)
    return text + _cases(check.case_count, check.note or needs)


def comparison_sentence(item: PairedComparison) -> str:
    """Return a comparison with its interval, p-value and number of cases."""
    if item.difference is None:
        return f"{item.baseline} has no result of these cases"
    text = (
        f"{points(item.difference)} [{points(item.low)}, {points(item.high)}] points of {item.metric} against"
        f" {item.baseline}: {item.worse_count} worse, {item.better_count} better, p {p_text(item.p_value)}"
    )
    needs = None if item.passed is not None else _needs(item.case_count, item.needed_case_count)
    return text + _cases(item.case_count, item.note or needs)


def slice_label(item: SliceResult) -> str:
    """Return the name of a slice among the limits of a gate."""
    return f"slice {item.name}"


def slice_sentence(item: SliceResult) -> str:
    """Return a slice that is shown to be worse, or below the limit."""
    rate = "-" if item.pass_rate is None else f"{100 * item.pass_rate:.0f} %"
    return f"slice `{item.name}` {rate} of {count(item.case_count, 'case')}, p {p_text(item.p_value)}"


def flaky_sentence(flaky: Sequence[FlakyCase]) -> str:
    """Return the flaky cases, the first by name."""
    first = flaky[0]
    more = f" and {len(flaky) - 1} more" if len(flaky) > 1 else ""
    return f"flaky: `{first.case}` passed {first.pass_count} of {first.trial_count}{more}"


def points(share: float) -> str:
    """Return a difference of shares in percentage points."""
    return f"{100 * share:+.1f}"


def p_text(p_value: float) -> str:
    """Return a p-value with two significant digits."""
    return f"{p_value:.2g}" if p_value >= 1e-4 else "< 0.0001"  # noqa: PLR2004 - smaller ones say nothing more


def _cases(case_count: int | None, more: str | None) -> str:
    text = "" if case_count is None else f", n = {case_count:,}"
    return text if more is None else f"{text}; {more}"


def _needs(case_count: int | None, needed: int | None) -> str | None:
    if case_count is None:
        return None
    if needed is None:
        return "no number of cases would decide it at this value"
    return f"needs about {needed - case_count:,} more cases"
