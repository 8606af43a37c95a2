"""Screen of `flowai upgrade`: verdict by feature, what changes, the registry's diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.rendering import formatting
from flowai.rendering.markdown import one_line
from flowai.upgrades import texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowai.upgrades.publishing import Publication
    from flowai.upgrades.records import FeatureUpgrade, UpgradeForecast, UpgradeModel, UpgradeReport

MAX_WORST_COUNT = 3
MAX_DIFF_LINES = 40
_DROP_ORDER = (3, 6, 4, 5)
"""Columns that are left out on a narrow terminal, the least important first."""
_FORECAST_COLUMNS = ("feature", "cases", "suite calls", "logged calls", "judge calls", "about $")


def report_lines(report: UpgradeReport, *, place: str, again: str, width: int | None) -> Iterator[str]:
    """Yield the screen of a report; its last lines are the verdict and the next command.

    Args:
        report: the report.
        place: the report's files.
        again: the command without options that write.
        width: characters of a line; None for any number.
    """
    yield from _head_lines(report.old, report.new, f"release {report.serving} -> {report.candidate}", width)
    rows = formatting.without_columns([texts.FEATURE_COLUMNS, *texts.feature_rows(report)], _DROP_ORDER, width)
    yield from formatting.aligned(rows)
    for item in report.features:
        yield from _feature_lines(item, width)
    if report.registry_diff:
        yield ""
        lines = report.registry_diff.splitlines()
        yield from (one_line(line, width) if width and len(line) > width else line for line in lines[:MAX_DIFF_LINES])
        if len(lines) > MAX_DIFF_LINES:
            yield f"... {len(lines) - MAX_DIFF_LINES} more lines in the report"
    yield ""
    other = texts.other_use_line(report)
    if other is not None:
        yield from formatting.wrapped(other, width)
    cost = "cost unknown" if report.cost_usd is None else formatting.dollars(report.cost_usd)
    kept = f" ({report.kept_call_count:,} kept from earlier)" if report.kept_call_count else ""
    yield from formatting.wrapped(f"{formatting.count(report.call_count, 'call')}{kept}, {cost}; {place}", width)
    yield from formatting.wrapped(texts.verdict_line(report), width)
    yield from formatting.wrapped(_next_line(report, again), width)


def publication_lines(publication: Publication) -> Iterator[str]:
    """Yield what was written and published."""
    report, published = publication.report, publication.published
    for warning in published.warnings if published is not None else ():
        yield f"warning: {warning}"
    if publication.refused is not None:
        yield f"NOT PUBLISHED  {publication.refused}; the registry is unchanged"
    elif report.registry_changes == "published" and published is not None:
        yield f"done     {published.registry_file}  {report.candidate} is being rolled out: stage {published.stage}"
    elif report.registry_changes == "written":
        yield f"done     {report.candidate} is written; it serves nobody before `flowai release publish`"


def forecast_lines(forecast: UpgradeForecast, width: int | None) -> Iterator[str]:
    """Yield the screen of a dry run."""
    yield from _head_lines(forecast.old, forecast.new, f"release {forecast.serving} -> {forecast.candidate}", width)
    rows = [
        (
            item.feature,
            f"{item.case_count:,}",
            f"{item.suite_call_count:,}",
            f"{item.logged_call_count:,}",
            f"{item.judge_call_count:,}",
            formatting.dollars(item.cost_usd),
        )
        for item in forecast.features
    ]
    yield from formatting.aligned([_FORECAST_COLUMNS, *rows], "<>>>>>")
    for item in forecast.features:
        if item.note is not None:
            yield from formatting.wrapped(f"{item.feature}: {item.note}", width)
    for warning in forecast.warnings:
        yield from formatting.wrapped(f"warning: {warning}", width)
    if forecast.done_call_count:
        yield f"{formatting.count(forecast.done_call_count, 'answer')} of an earlier run are kept"
    cost = "price unknown" if forecast.cost_usd is None else f"about {formatting.dollars(forecast.cost_usd)}"
    yield from formatting.wrapped(
        f"at most {formatting.count(forecast.call_count, 'call')}, {cost}; fewer when a verdict is certain. "
        "Nothing was called and nothing was changed.",
        width,
    )


def _head_lines(old: UpgradeModel, new: UpgradeModel, release: str, width: int | None) -> Iterator[str]:
    yield from formatting.joined_lines((f"{old.name} -> {new.name}", new.model, release), width, indent="  ")
    parts = [f"{name} {before} -> {after}" for name, before, after in texts.model_facts_rows(old, new)]
    yield from formatting.joined_lines(parts, width, indent="  ")


def _feature_lines(item: FeatureUpgrade, width: int | None) -> Iterator[str]:
    lines = list(texts.change_lines(item))
    if item.verdict in {"worse", "undecided"}:
        lines = [item.reason, *lines]
    lines += [f"slice {line}" for line in texts.slice_lines(item)]
    worst = [case for found in item.evidence for case in found.worst]
    lines += [f"worse: {case.case}  {case.place}  {case.reason}" for case in worst[:MAX_WORST_COUNT]]
    if lines:
        yield f"{item.feature}:"
    for line in dict.fromkeys(lines):
        yield from formatting.wrapped(f"  {one_line(line, 300)}", width, indent="    ")


def _next_line(report: UpgradeReport, again: str) -> str:
    if report.registry_changes == "published":
        return f"Then: flowai canary-report.  Back: {report.rollback_command}"
    if report.registry_changes == "written":
        return f"Then: {report.publish_command}"
    if report.verdict in {"better", "equal"}:
        return f"Then: {again}{_chosen(item.feature for item in report.features)} --publish"
    fine = [item.feature for item in report.features if item.verdict in {"better", "equal"}]
    if fine:
        return f"The others alone: {again}{_chosen(fine)} --publish"
    if report.verdict == "undecided":
        return "Nothing was changed. More cases would decide, or a larger --margin."
    return "Nothing was changed."


def _chosen(features: Iterable[str]) -> str:
    return "".join(f" --feature {name}" for name in features)
