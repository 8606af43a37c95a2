"""`flowai upgrade`: options and screen."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import AnyEnv, JsonOption, PageOutputs, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.runs.trials import Observer
    from flowai.upgrades.options import UpgradeOptions
    from flowai.upgrades.publishing import Publication

EXAMPLES = examples(
    "flowai upgrade gpt-4o-mini openai/gpt-5.4-mini --dry-run",
    "flowai upgrade gpt-4o-mini openai/gpt-5.4-mini --from-log 200 --max-cost 5",
    "flowai upgrade gpt-4o-mini gpt-5.4-mini --feature summarization --publish",
)


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    old: Annotated[str, typer.Argument(metavar="OLD", help="Model of the serving release to replace.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Model in its place: a name of the registry or LiteLLM's.")],
    feature: Annotated[
        list[str] | None, typer.Option("--feature", metavar="NAME", help="Only this feature. Repeatable.")
    ] = None,
    from_log: Annotated[
        int, typer.Option("--from-log", metavar="N", help="Also answer N logged requests per feature, and judge them.")
    ] = 0,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Start of the time range of logged requests.")
    ] = "30d",
    judge: Annotated[
        str | None,
        typer.Option("--judge", metavar="NAME", help="Model that compares logged answers; default feature `judge`."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="NAME", help="Use OLD's results of this run or file; do not call OLD."),
    ] = None,
    filter_first_n: Annotated[
        int | None,
        typer.Option("--filter-first-n", "-n", metavar="N", min=1, help="Run only the first N cases of each suite."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", metavar="SHARE", help="Accepted loss; default the suites' gates', else 0.05."),
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", metavar="SHARE", help="Chance of a false verdict of each kind, per feature.")
    ] = 0.05,
    max_concurrency: Annotated[
        int | None,
        typer.Option(
            "--max-concurrency", "-j", metavar="N", min=1, max=1000, help="Maximum number of concurrent calls."
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", metavar="USD", help="Stop before the calls cost more than this."),
    ] = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="PATH", help="Use recorded answers of both models.")
    ] = None,
    no_code: Annotated[bool, typer.Option("--no-code", help="Run no code of suites.")] = False,
    adapt: Annotated[
        str | None,
        typer.Option("--adapt", metavar="NAME", help="Model that rewrites the prompt of a feature that is not fine."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show calls, cost and diff; call and change nothing.")
    ] = False,
    release: Annotated[
        str | None, typer.Option("--release", metavar="NAME", help="Name of the new release; default the next one.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the new release into the registry.")] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Write it and start its rollout if no feature is worse or undecided.")
    ] = False,
    no_smoke: Annotated[bool, typer.Option("--no-smoke", help="With --publish: skip smoke.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Publish although a feature is worse or undecided; requires --reason.")
    ] = False,
    reason: Reason = None,
    output: PageOutputs = None,
    env: AnyEnv = None,
    json: JsonOption = False,
) -> None:
    """Try a model in another's place; propose the release.

    Every feature of the serving release that uses OLD is tried with both models, in the same cases, until the verdict
    is certain. Answers are kept: the same command continues after an interruption. Nothing but the report is written
    without --write or --publish.

    Exit status: 0 equal or better everywhere, 1 worse somewhere, 4 a model does not answer, 5 undecided.
    """
    from flowai.upgrades.options import UpgradeOptions

    options = UpgradeOptions(
        old=old,
        new=new,
        features=tuple(feature or ()),
        from_log=from_log,
        since=since,
        judge=judge,
        baseline=baseline,
        first_n=filter_first_n,
        margin=margin,
        alpha=alpha,
        concurrency=max_concurrency,
        max_cost_usd=max_cost,
        replay=replay,
        runs_code=not no_code,
        release=release,
        env=env,
        writes=write,
        publishes=publish,
        smoke=not no_smoke,
        adapts=adapt,
        forces=force,
        reason=reason,
        outputs=tuple(Path(name) for name in output or ()),
    )
    raise typer.Exit(_forecast(options, json=json) if dry_run else _run(options, json=json))


def _forecast(options: UpgradeOptions, *, json: bool) -> int:
    from flowai.cli import console, upgrade_view
    from flowai.upgrades.forecast import forecast_upgrade
    from flowai.upgrades.setup import open_upgrade

    forecast = forecast_upgrade(open_upgrade(console.command_context(), options), options)
    if json:
        console.print_json(forecast)
        return 0
    for line in (
        *upgrade_view.forecast_lines(forecast, console.terminal_width()),
        *forecast.registry_diff.splitlines(),
    ):
        console.print_line(line)
    return 0


def _run(options: UpgradeOptions, *, json: bool) -> int:
    from flowai.cli import console, upgrade_view
    from flowai.rendering.report_files import to_json
    from flowai.upgrades.setup import open_upgrade
    from flowai.upgrades.upgrade import run_upgrade

    setup = open_upgrade(console.command_context(), options)
    for warning in setup.warnings:
        console.print_progress_line(f"warning: {warning}")
    result = run_upgrade(setup, options, _progress)
    publication, report = result.publication, result.publication.report
    for line in result.unwritten:
        console.print_progress_line(f"warning: {line}")
    if json:
        console.print_json(to_json(report))
    else:
        place = setup.workspace.project.show(result.directory / "report.html")
        for line in upgrade_view.report_lines(
            report, place=place, again=_command_line(options), width=console.terminal_width()
        ):
            console.print_styled(line)
        for line in upgrade_view.publication_lines(publication):
            console.print_styled(line)
    return _exit_code(publication)


def _command_line(options: UpgradeOptions) -> str:
    """Return the command with the options that decide what is compared, ready to paste; without its features."""
    import shlex

    words = ["flowai", "upgrade", options.old, options.new]
    words += ["--from-log", str(options.from_log)] if options.from_log else []
    words += ["--since", options.since] if options.from_log and options.since != "30d" else []
    for name, value in (
        ("--judge", options.judge),
        ("--baseline", options.baseline),
        ("-n", options.first_n),
        ("--adapt", options.adapts),
        ("--margin", options.margin),
        ("--replay", options.replay),
        ("--release", options.release),
        ("--env", options.env),
    ):
        words += [name, str(value)] if value is not None else []
    return shlex.join(words)


def _exit_code(publication: Publication) -> int:
    from flowai.errors import ExitCode

    published = publication.published
    if published is not None and published.stage is None:
        return ExitCode.GATE_NOT_MET if published.smoke == "fail" else ExitCode.INFRASTRUCTURE
    codes = {"worse": ExitCode.GATE_NOT_MET, "undecided": ExitCode.INCONCLUSIVE}
    return codes.get(publication.report.verdict, ExitCode.DONE)


@contextmanager
def _progress(stage: str) -> Iterator[Observer]:
    """Show the progress of a stage."""
    from flowai.cli import console
    from flowai.cli.progress import RunProgress

    if stage:
        console.print_progress_line(stage)
    with RunProgress() as progress:
        yield progress
