"""The result of a drift run in one line, and the changes of a provider's names."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flowai.evals.gates.sentences import p_text, points
from flowai.rendering.formatting import count
from flowai.rendering.markdown import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.evals.reports.drift_records import DriftResult
    from flowai.evals.reports.records import Report

MAX_NAMES = 3
MAX_REASON_CHARS = 160
_ORDER = {"drifted": 0, "undecided": 1, "not_drifted": 2}
MAX_SHOWN = 3


def drift_sentence(results: Sequence[DriftResult], plan_count: int, trial_count: int) -> str:
    """Return the decisions, those that drifted first."""
    ordered = sorted(results, key=lambda result: _ORDER[result.verdict])
    decisive = [result for result in ordered if result.verdict == ordered[0].verdict]
    texts = [result_text(result) for result in decisive[:MAX_SHOWN]]
    if len(decisive) > MAX_SHOWN:
        texts.append(f"{len(decisive) - MAX_SHOWN} more prompts and models like these")
    calls = f"{trial_count:,} of {plan_count:,} trials" if trial_count < plan_count else count(plan_count, "trial")
    return f"{'; '.join(texts)}; {calls}"


def result_text(result: DriftResult) -> str:
    """Return the decision on one prompt and model."""
    head = f"{result.model} on {result.prompt} against {result.baseline}"
    if result.difference is None:
        return f"{head}: no case was finished"
    facts = [
        f"{points(result.difference)} points [{points(result.low)}, {points(result.high)}]",
        f"{result.worse_count} worse and {result.better_count} better of {count(result.case_count, 'case')}",
    ]
    if result.verdict == "drifted":
        facts.insert(0, str(result.direction))
        facts.append(f"p {p_text(result.p_value)}")
    elif result.verdict == "not_drifted":
        facts.append(f"a shift of {_shift(result)} would have been found")
    elif result.needed_case_count is None:
        facts.append("no number of cases would decide it at this value")
    else:
        facts.append(f"needs about {result.needed_case_count:,} cases, or more trials of each (--repeat)")
    return f"{head}: " + ", ".join([*facts, *_changes(result)])


def change_warnings(results: Sequence[DriftResult]) -> Iterator[str]:
    """Yield a line for each change of a served name or fingerprint, and for the cases that are left out."""
    for result in results:
        for change in _changes(result):
            yield f"{result.model} on {result.prompt}: {change}"
        reasons: dict[str, list[str]] = {}
        for item in result.left_out:
            reasons.setdefault(item.reason, []).append(item.case)
        for reason, cases in reasons.items():
            named = one_line(", ".join(cases), MAX_REASON_CHARS)
            yield f"{count(len(cases), 'case')} of {result.baseline} left out, {reason}: {named}"


def unread_sentence(name: str, report: Report) -> str:
    """Return why a run could not be read, with the most frequent error."""
    unread = [trial for trial in report.trials if trial.outcome not in {"pass", "fail"}]
    reasons = Counter(
        f"{trial.failure.kind}: {trial.failure.message}" if trial.failure else "the answer could not be judged"
        for trial in unread
    )
    reason = f", most often {one_line(reasons.most_common(1)[0][0], MAX_REASON_CHARS)}" if reasons else ""
    total = count(report.totals.trial_count, "trial")
    return f"{name} could not be read: {len(unread):,} of {total} have no result{reason}"


def _changes(result: DriftResult) -> list[str]:
    changes = []
    if result.new_names:
        changes.append(f"served model {_listed(result.served_before)} -> {_listed(result.served_now)}")
    if result.new_fingerprints:
        changes.append(f"fingerprint {_listed(result.fingerprints_before)} -> {_listed(result.fingerprints_now)}")
    return changes


def _shift(result: DriftResult) -> str:
    return "-" if result.smallest_shift is None else f"{100 * result.smallest_shift:.1f} points"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return one_line(", ".join(names[:MAX_NAMES]), 80) + more
