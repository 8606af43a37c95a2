"""Texts of the report of `flowai canary-report --power` for screens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.comparison.metrics import METRIC_KINDS, label_of
from flowai.rendering.formatting import aligned, count, joined_lines, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.canary.planning.power_records import GuardrailPower, NeededUsers, PowerReport

_WIDTH = 80
_COLUMNS = ("stage", "guardrail", "margin", "safe: users", "days", "harm", "found: users", "days")
_FEW_DAYS = 10
_SHORTEST_DAYS = 0.1


def power_lines(report: PowerReport) -> Iterator[str]:
    """Yield the traffic, a line per stage and guardrail, and the sentence; no line is wider than 80."""
    where = f" in {report.environment}" if report.environment else ""
    parts = (
        f"{report.release}{where}",
        f"{count(report.calls, 'call')} of {count(report.users, 'user')}",
        f"{sum(report.calls_per_hour.values()):,.0f} calls per hour",
        f"{report.since} to {report.until}",
    )
    yield from joined_lines(parts, _WIDTH, indent="  ")
    rows: list[Sequence[str]] = [_COLUMNS]
    for stage in report.stages:
        title = f"{stage.percent} %"
        for one in stage.guardrails:
            safe, found = _cells(one.safe), _cells(one.found)
            rows.append((title, label_of(one.name), _amount(one, one.margin), *safe, _amount(one, one.harm), *found))
            title = ""
    yield from aligned(rows, "><>>>>>>", " " * 2)
    for line in sentences(report):
        yield from wrapped(line, _WIDTH)


def _amount(one: GuardrailPower, amount: float | None) -> str:
    if amount is None:
        return "-"
    kind = METRIC_KINDS[one.name]
    if kind.scale == "ratio" or (kind.has_ratio_margin and amount >= 1):
        return f"x {amount:.2f}"
    return f"{100 * amount:.3g} pt"


def _cells(needed: NeededUsers | None) -> tuple[str, str]:
    if needed is None:
        return "no data", "-"
    if needed.candidate is None or needed.days is None:
        return "never", "-"
    if needed.days < _SHORTEST_DAYS:
        return f"{needed.candidate:,}", f"<{_SHORTEST_DAYS}"
    days = f"{needed.days:.1f}" if needed.days < _FEW_DAYS else f"{needed.days:,.0f}"
    return f"{needed.candidate:,}", days


def sentences(report: PowerReport) -> Iterator[str]:
    """Yield the meaning of the columns, and the guardrail that a promotion waits for at the largest share."""
    yield (
        "users: of the candidate, in 4 of 5 rollouts, until a candidate without a difference is non-inferior (safe),"
        " or until the harm is found."
    )
    guardrails = [one for stage in report.stages for one in stage.guardrails]
    if any(needed and needed.days is None for one in guardrails for needed in (one.safe, one.found)):
        yield "never: never at this traffic; it would take more than a year."
    largest = max(report.stages, key=lambda one: one.percent)
    slow = {label_of(one.name): one.safe.days for one in largest.guardrails if one.safe is not None}
    never = [name for name, days in slow.items() if days is None]
    if never:
        yield f"At {largest.percent} % no promotion at this traffic: {', '.join(never)} would not be non-inferior."
    elif slow:
        name, days = max(((name, days) for name, days in slow.items() if days is not None), key=lambda item: item[1])
        yield f"At {largest.percent} % a promotion needs about {days:.1f} days; it waits for {name}."
