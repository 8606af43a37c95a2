"""Texts of an upgrade's report that screen, Markdown and page share; not escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.rendering.formatting import MISSING_TEXT, count, dollars, duration, format_number
from flowai.upgrades.verdict import deciding_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.upgrades.records import Evidence, FeatureUpgrade, ParameterChange, Speed, UpgradeModel, UpgradeReport

VERDICTS = {"better": "better", "equal": "equal", "worse": "WORSE", "undecided": "undecided"}
HEADLINES = {
    "better": "EQUAL OR BETTER",
    "equal": "EQUAL OR BETTER",
    "worse": "WORSE",
    "undecided": "UNDECIDED",
}
COLOURS = {"better": "good", "equal": "good", "worse": "bad", "undecided": "warn"}
KINDS = {"suites": "suites", "logged_checks": "logged calls, assertions", "preference": "logged calls, judge"}
MODEL_COLUMNS = ("", "old", "new")
FEATURE_COLUMNS = ("feature", "verdict", "difference", "margin", "pairs", "$ per 1,000", "p95")
EVIDENCE_COLUMNS = ("feature", "evidence", "says", "old", "new", "difference", "pairs", "worse / better", "errors")
SPEED_COLUMNS = ("feature", "model", "answers", "p50", "p95", "TTFT p95", "tokens", "$ per 1,000 calls")


def title(report: UpgradeReport) -> str:
    """Return the title: both models."""
    return f"Upgrade {report.old.name} -> {report.new.name}"


def verdict_line(report: UpgradeReport) -> str:
    """Return the verdict of the whole upgrade, with the features that decide it."""
    parts = []
    for verdict in ("worse", "undecided"):
        named = ", ".join(item.feature for item in report.features if item.verdict == verdict)
        if named:
            parts.append(named if verdict == report.verdict else f"{verdict}: {named}")
    fine = sum(item.verdict in {"equal", "better"} for item in report.features)
    if fine:
        parts.append(f"{fine} of {count(len(report.features), 'feature')} equal or better")
    return f"{HEADLINES[report.verdict]}  {'; '.join(parts)}"


def headline(report: UpgradeReport) -> str:
    """Return what was done, in one sentence."""
    env = f" of {report.environment}" if report.environment else ""
    cost = "cost unknown" if report.cost_usd is None else dollars(report.cost_usd)
    return (
        f"Release {report.candidate} extends the serving release {report.serving}{env} with {report.new.model} in place"
        f" of {report.old.model}. {count(report.call_count, 'call')}, {cost}, {report.at}."
    )


def model_rows(report: UpgradeReport) -> list[tuple[str, str, str]]:
    """Return both models side by side."""
    return [("model", report.old.model, report.new.model), *model_facts_rows(report.old, report.new)]


def model_facts_rows(old: UpgradeModel, new: UpgradeModel) -> Iterator[tuple[str, str, str]]:
    """Yield price, limits and end date of both models, as far as they are known."""
    for name, value in (
        ("$ in / out per 1 M tokens", _price),
        ("context, tokens", lambda model: format_number(model.max_input_tokens)),
        ("answer limit, tokens", lambda model: format_number(model.max_output_tokens)),
        ("ends", lambda model: MISSING_TEXT if model.end_date is None else model.end_date.isoformat()),
    ):
        before, after = value(old), value(new)
        if (before, after) != (MISSING_TEXT, MISSING_TEXT):
            yield name, before, after


def feature_rows(report: UpgradeReport) -> list[tuple[str, ...]]:
    """Return one row per feature."""
    rows: list[tuple[str, ...]] = []
    for item in report.features:
        main = deciding_evidence([found for found in item.evidence if found.judged])
        rows.append(
            (
                item.feature,
                VERDICTS[item.verdict],
                MISSING_TEXT if main is None else difference_text(main),
                MISSING_TEXT if main is None else f"{100 * main.margin:g} pt",
                MISSING_TEXT if main is None else f"{main.pair_count:,} of {main.planned_count:,}",
                _both(item, lambda speed: dollars(speed.usd_per_1000_calls)),
                _both(item, lambda speed: duration(speed.latency_p95_ms)),
            )
        )
    return rows


def evidence_rows(report: UpgradeReport) -> list[tuple[str, ...]]:
    """Return one row per comparison."""
    return [
        (
            item.feature,
            f"{KINDS[found.kind]}: {found.source}",
            VERDICTS[found.verdict] if found.judged else "shown, not judged",
            _rate(found.old),
            _rate(found.new),
            difference_text(found),
            f"{found.pair_count:,} of {found.planned_count:,}" + (", certain" if found.stopped_early else ""),
            f"{found.worse_count:,} / {found.better_count:,}",
            f"{found.error_count:,}",
        )
        for item in report.features
        for found in item.evidence
    ]


def speed_rows(report: UpgradeReport) -> list[tuple[str, ...]]:
    """Return two rows per feature: the old model and the new one."""
    return [
        (
            item.feature,
            model.name,
            f"{speed.answer_count:,}",
            duration(speed.latency_p50_ms),
            duration(speed.latency_p95_ms),
            duration(speed.ttft_p95_ms),
            MISSING_TEXT if speed.mean_output_tokens is None else f"{speed.mean_output_tokens:,.0f}",
            dollars(speed.usd_per_1000_calls),
        )
        for item in report.features
        for model, speed in ((report.old, item.old_speed), (report.new, item.new_speed))
        if speed.answer_count
    ]


def change_lines(item: FeatureUpgrade) -> Iterator[str]:
    """Yield what a person should know about a feature beside its verdict."""
    yield from (parameter_text(change) for change in item.parameters)
    yield from (finding for finding in item.findings if finding != item.reason)
    for found in item.evidence:
        if found.note is not None:
            yield f"{KINDS[found.kind]}: {found.note}"
    if item.needed_count:
        yield f"needs about {item.needed_count:,} more pairs to decide"
    if item.proposed_prompt is not None:
        yield f"prompt written for the new model: {item.proposed_prompt}, beside the report"


def slice_lines(item: FeatureUpgrade) -> Iterator[str]:
    """Yield the slices that became worse."""
    for found in item.slices:
        points = MISSING_TEXT if found.difference is None else f"{100 * found.difference:+.1f} pt"
        gated = ", named by the gate" if found.is_gated else ""
        cases = count(found.case_count, "case")
        yield f"{found.name}: {points} of {cases} of {found.suite}, p {found.p_value:.2g}{gated}"


def parameter_text(change: ParameterChange) -> str:
    """Return what happens to a parameter."""
    if change.effect == "removed":
        return f"`{change.name}` is refused: the new release leaves it out ({change.source})"
    if change.effect == "renamed":
        return f"`{change.name}` is sent as `{change.sent_as}` ({change.source})"
    return f"`{change.name}` is not sent to this provider ({change.source})"


def difference_text(found: Evidence) -> str:
    """Return a difference with its interval, in points."""
    if found.difference is None:
        return MISSING_TEXT
    estimate, low, high = (
        f"{100 * value:+.1f}".replace("-0.0", "+0.0") for value in (found.difference, found.low, found.high)
    )
    return f"{estimate} [{low}, {high}] pt"


def plan_lines(report: UpgradeReport) -> Iterator[str]:
    """Yield the rollout plan and the way back."""
    yield f"{report.publish_command}: smoke, then the stages {', '.join(report.stages)} (percent of users)"
    yield "flowai canary-report at each stage; flowai release promote goes on"
    yield f"{report.rollback_command}: back to {report.serving} at once"


def other_use_line(report: UpgradeReport) -> str | None:
    """Return the keys that still name the old model; None without any."""
    if not report.other_uses:
        return None
    return f"{', '.join(report.other_uses)} still name {report.old.name}; no release changes them: edit them by hand"


def _both(item: FeatureUpgrade, show: Callable[[Speed], str]) -> str:
    old, new = show(item.old_speed), show(item.new_speed)
    return MISSING_TEXT if (old, new) == (MISSING_TEXT, MISSING_TEXT) else f"{old} -> {new}"


def _price(model: UpgradeModel) -> str:
    costs = (model.input_usd_per_million_tokens, model.output_usd_per_million_tokens)
    if None in costs:
        return MISSING_TEXT
    return "free" if not any(costs) else f"{costs[0]:g} / {costs[1]:g}"


def _rate(value: float | None) -> str:
    return MISSING_TEXT if value is None else f"{100 * value:.1f} %"
