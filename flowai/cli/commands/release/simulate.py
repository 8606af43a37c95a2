"""`flowai simulate`: options and screen."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption, Until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.canary.planning.simulation_records import SimulatedGuardrail, SimulatedShare, SimulationReport

_COLUMNS = ("candidate", "rolled back [95 %]", "calls", "hours", "promoted [95 %]")
_GOOD_SHARE = 0.8

EXAMPLES = examples(
    "flowai simulate",
    "flowai simulate --since 14d --hours 6,24,24,24",
    "flowai simulate --env prod --runs 1000 --seed 1 --json",
)


def command(  # noqa: PLR0913, PLR0917 - a command's options
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Start of the log to draw from: `7d`, `2026-05-02`.")
    ] = "7d",
    until: Until = None,
    feature: Annotated[str | None, typer.Option("--feature", metavar="NAME", help="Draw only this feature.")] = None,
    hours: Annotated[
        str | None,
        typer.Option(
            "--hours",
            metavar="HOURS",
            help="Hours of each stage: `24`, or `6,24,24,24`; default the log's length, divided equally.",
        ),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", metavar="N", min=1, max=100_000, help="Rollouts of each kind.")] = 200,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, max=999_999, help="Equal seeds and logs give equal results.")
    ] = 0,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Simulate rollouts on your log: what would the policy do?

    Users are drawn from the event log, each with all calls, and assigned to the stages of `policies.canary` below
    100 %. Candidates are as good as the serving release, or worse by 2 margins of one guardrail; `promoted` is of
    those worse by 1.3 margins. Exit status: 0, or 5 if the log has too few calls.
    """
    from flowai.canary.planning.simulate import SimulateOptions, run_simulate
    from flowai.cli import console

    options = SimulateOptions(since=since, until=until, feature=feature, hours=hours, runs=runs, seed=seed)
    with _progress() as on_progress:
        report = run_simulate(console.command_context(env), options, on_progress)
    if json:
        console.print_json(report)
        return
    for line in screen_lines(report):
        console.print_line(line)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr if it is a terminal."""
    from flowai.cli import console

    if not console.wants_progress():
        yield lambda _done, _total: None
        return
    from rich.progress import Progress

    with Progress(console=console.stderr(), transient=True) as bar:
        task = bar.add_task("rollouts", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def screen_lines(report: SimulationReport) -> Iterator[str]:
    """Yield the log, the stages, a line per candidate, the sentence and warnings; no line is wider than 80."""
    from flowai.rendering.formatting import aligned, count, joined_lines, wrapped

    where = f" in {report.environment}" if report.environment else ""
    parts = (
        f"{report.release}{where}",
        f"{count(report.log_calls, 'call')} of {count(report.log_users, 'user')}",
        f"{report.since} to {report.until}",
        f"stages {', '.join(_stage(one.stage, one.hours) for one in report.stages)}",
        f"{count(report.runs, 'rollout')} of each kind",
    )
    yield from joined_lines(parts, _WIDTH, indent="  ")
    rows = [("equal", _share(report.rolled_back), "", "", _share(report.promoted)), *map(_row, report.guardrails)]
    yield from aligned([_COLUMNS, *rows], "<>>>>")
    for warning in report.warnings:
        yield from wrapped(f"warning: {warning}", _WIDTH)
    yield from wrapped(sentence(report), _WIDTH)


_WIDTH = 80


def _stage(name: str, hours: float) -> str:
    return f"{name if name == 'dogfood' else f'{name} %'} {hours:g} h"


def _row(one: SimulatedGuardrail) -> tuple[str, ...]:
    from flowai.rendering.formatting import MISSING_TEXT

    if one.rolled_back is None:
        return (_change(one), *[MISSING_TEXT] * 4)
    return (
        _change(one),
        _share(one.rolled_back),
        MISSING_TEXT if one.calls is None else f"{one.calls:,.0f}",
        MISSING_TEXT if one.hours is None else f"{one.hours:,.0f}",
        _share(one.promoted),
    )


def _change(one: SimulatedGuardrail) -> str:
    """Return a guardrail with the simulated change of its rate or mean; of a success rate, of its successes."""
    from flowai.comparison.metrics import METRIC_KINDS, label_of

    if one.harm is None:
        return f"{label_of(one.name)} (no data)"
    if one.baseline is None:
        return f"{label_of(one.name)} x {one.harm:.2f}"
    rates = (one.baseline, one.baseline + one.harm)
    if METRIC_KINDS[one.name].is_success:
        rates = (1 - rates[0], 1 - rates[1])
    return f"{label_of(one.name)} {100 * rates[0]:.1f} -> {100 * rates[1]:.1f} %"


def _share(share: SimulatedShare | None) -> str:
    from flowai.rendering.formatting import MISSING_TEXT

    if share is None:
        return MISSING_TEXT
    return f"{100 * share.rate:.1f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]"


def sentence(report: SimulationReport) -> str:
    """Return the result in words: false rollbacks, false promotions, and which harm is found."""
    from flowai.comparison.metrics import label_of
    from flowai.rendering.formatting import rate

    alpha = f"{100 * report.alpha:g} %"
    judged = [one for one in report.guardrails if one.rolled_back is not None and one.promoted is not None]
    found = [label_of(one.name) for one in judged if one.rolled_back and one.rolled_back.rate >= _GOOD_SHARE]
    missed = [label_of(one.name) for one in judged if one.rolled_back and one.rolled_back.rate < _GOOD_SHARE]
    parts = [f"Of equal candidates, {rate(report.rolled_back.rate)} are rolled back (alpha {alpha})"]
    if judged:
        highest = max(one.promoted.rate for one in judged if one.promoted)
        parts.append(f"of those worse by 1.3 margins, at most {rate(highest)} are promoted")
    if found:
        parts.append(f"a harm of 2 margins is found in 4 of 5 rollouts or more of {', '.join(found)}")
    if missed:
        why = ": the stages are too short at this traffic" if report.user_share >= 1 else ""
        parts.append(f"it is found less often of {', '.join(missed)}{why}")
    return f"{'; '.join(parts)}."
