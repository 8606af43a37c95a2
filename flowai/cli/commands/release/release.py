"""`flowai release list|diff|publish|promote`: options and screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import HelpCommand, HelpGroup, examples
from flowai.cli.options import Env, JsonOption, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.reports import Trial
    from flowai.evals.runs.trials import Forecast
    from flowai.releases.diff import Difference
    from flowai.rollouts.listing import ReleaseDiff, ReleaseList
    from flowai.rollouts.promote import PromoteResult
    from flowai.rollouts.publish import PublishResult

app = typer.Typer(
    cls=HelpGroup,
    help="List and compare releases; roll one out by stages.",
    epilog=examples("flowai release list", "flowai release publish v3 --env prod", "flowai release promote --env prod"),
    no_args_is_help=True,
)


@app.command("list", cls=HelpCommand, epilog=examples("flowai release list", "flowai release list --env prod --json"))
def list_command(env: Env = None, json: JsonOption = False) -> None:
    """List releases and their status: serving, candidate, bad."""
    from flowai.cli import console
    from flowai.rendering.formatting import aligned
    from flowai.rollouts.listing import list_releases

    result = list_releases(console.command_context(), env=env)
    if json:
        console.print_json(result)
        return
    for line in aligned([("release", "status", "changes", "last step"), *_rows(result)], gap="   "):
        console.print_line(line)
    for warning in result.warnings:
        console.print_line(f"warning: {warning}")


@app.command("diff", cls=HelpCommand, epilog=examples("flowai release diff v3", "flowai release diff v2 v3 --env prod"))
def diff_command(
    first: Annotated[
        str, typer.Argument(metavar="RELEASE", help="Release to compare with the serving release, or with LATER.")
    ],
    second: Annotated[str | None, typer.Argument(metavar="LATER", help="Release to compare with RELEASE.")] = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Show the changes of a release: models, parameters, prompts."""
    from flowai.cli import console
    from flowai.rollouts.listing import diff_releases

    before, after = (None, first) if second is None else (first, second)
    result = diff_releases(console.command_context(), before, after, env=env)
    if json:
        console.print_json(result)
        return
    for line in _diff_lines(result):
        console.print_line(line)


@app.command(
    "publish",
    cls=HelpCommand,
    epilog=examples(
        "flowai release publish v3",
        "flowai release publish v3 --env prod --reason 'shorter summaries'",
    ),
)
def publish_command(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Release to roll out.")],
    env: Env = None,
    no_smoke: Annotated[bool, typer.Option("--no-smoke", help="Skip smoke; the ledger records that.")] = False,
    fallbacks: Annotated[
        bool, typer.Option("--fallbacks/--no-fallbacks", help="Try every model of the fallback chains in smoke too.")
    ] = True,
    reason: Reason = None,
    json: JsonOption = False,
) -> None:
    """Lock a release and start its rollout if smoke passes.

    The hashes of its prompts and models are written to prompts.lock; from then on they must not change. Exit status:
    0 the rollout is active, 1 smoke failed, 4 a model did not respond.
    """
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.rollouts.publish import PublishOptions, publish

    options = PublishOptions(release=release, env=env, smoke=not no_smoke, fallbacks=fallbacks, reason=reason)
    result = publish(console.command_context(), options, _Quiet())
    if json:
        console.print_json(result)
    else:
        for line in _publish_lines(result):
            console.print_styled(line)
    if result.stage is None:
        raise typer.Exit(ExitCode.GATE_NOT_MET if result.smoke == "fail" else ExitCode.INFRASTRUCTURE)


@app.command(
    "promote",
    cls=HelpCommand,
    epilog=examples(
        "flowai release promote",
        "flowai release promote v3 --env prod",
        "flowai release promote --force --reason 'hotfix for INC-4711'",
    ),
)
def promote_command(
    release: Annotated[
        str | None,
        typer.Argument(metavar="RELEASE", help="Expected candidate; default the candidate of the active rollout."),
    ] = None,
    env: Env = None,
    force: Annotated[bool, typer.Option("--force", help="Promote without evidence; requires --reason.")] = False,
    reason: Reason = None,
    json: JsonOption = False,
) -> None:
    """Move the rollout to the next stage if the evidence allows it.

    From `dogfood`: smoke passed, and a minimum of calls. From a percentage: the verdict of the last canary report is
    `promote`. From 100 %: the soak is over; then the release is current and known good. Exit status: 0 promoted, 1 the
    candidate is worse, 5 not enough evidence yet.
    """
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.rollouts.promote import PromoteOptions, promote

    result = promote(console.command_context(), PromoteOptions(release=release, env=env, force=force, reason=reason))
    if json:
        console.print_json(result)
    else:
        for line in _promote_lines(result):
            console.print_styled(line)
    if not result.changed:
        raise typer.Exit(ExitCode.GATE_NOT_MET if result.candidate_is_worse else ExitCode.INCONCLUSIVE)


class _Quiet:
    """Shows no progress of smoke: its report names the failures."""

    def forecast(self, forecast: Forecast) -> None:
        pass

    def ready(self, model: str, load_s: float) -> None:
        pass

    def trial(self, trial: Trial) -> None:
        pass


def _stage(stage: int | str | None) -> str:
    return f"{stage} %" if isinstance(stage, int) else str(stage)


def _rows(result: ReleaseList) -> Iterator[tuple[str, ...]]:
    from flowai.rendering.markdown import one_line

    for row in result.releases:
        states = [f"candidate {_stage(row.stage)}" if word == "candidate" else word for word in row.states]
        if row.changed:
            states.append(f"CHANGED SINCE PUBLISHED: {', '.join(row.changed)}")
        last = "-"
        if (step := row.last_step) is not None:
            last = f"{step.action} {step.at:%Y-%m-%d %H:%M} by {one_line(step.actor, 40)}"
        yield row.name, ", ".join(states) or "-", ", ".join(row.features), last


def _diff_lines(result: ReleaseDiff) -> Iterator[str]:
    from flowai.rendering.markdown import visible

    yield f"{result.before} -> {result.after}"
    if not result.differences:
        yield "no differences"
    yield from _difference_lines(result.differences)
    for text in result.texts.values():
        yield ""
        yield from map(visible, text.splitlines())


def _difference_lines(differences: tuple[Difference, ...]) -> Iterator[str]:
    for difference in differences:
        what = "" if difference.what == "prompt" else f"{difference.what} "
        yield f"  {difference.feature}: {what}{difference.before or '-'} -> {difference.after or '-'}"


def _publish_lines(result: PublishResult) -> Iterator[str]:
    for warning in result.warnings:
        yield f"warning: {warning}"
    env = f" --env {result.environment}" if result.environment else ""
    if result.stage is None:
        yield f"NOT PUBLISHED  smoke: {result.smoke}   reports/smoke.xml"
        fallbacks = " --fallbacks" if result.fallbacks else ""
        yield f"retry: flowai smoke --release {result.release}{env}{fallbacks}"
        return
    yield f"{result.serving} -> {result.release}"
    yield from _difference_lines(result.differences)
    if not result.changed:
        yield f"{result.release} is already being rolled out: {_stage(result.stage)}; nothing changed"
        return
    yield f"done     smoke               {result.smoke}"
    yield "done     prompts.lock        its prompts and models are locked"
    yield f"done     {result.registry_file:<19} rollout: {_stage(result.stage)}"
    yield f"{result.release.upper()} IS BEING ROLLED OUT.  Commit {result.registry_file} and prompts.lock."
    yield f"Then: flowai release promote{env}"


def _promote_lines(result: PromoteResult) -> Iterator[str]:
    for warning in result.warnings:
        yield f"warning: {warning}"
    env = f" --env {result.environment}" if result.environment else ""
    if not result.changed:
        yield f"HOLD  {result.release} stays at {_stage(result.from_stage)}: {result.blocked_by}"
        if result.hint:
            yield f"hint: {result.hint}"
        return
    if result.forced:
        yield f"warning: forced, although {result.blocked_by}"
    if result.newly_exposed:
        yield f"critical features exposed now: {', '.join(result.newly_exposed)}"
    for step in result.steps:
        yield f"{'done' if step.status == 'done' else 'PENDING':<8} {step.name:<19} {step.detail}"
    if result.is_complete:
        yield f"{result.release.upper()} IS CURRENT AND KNOWN GOOD.  Commit {result.registry_file}."
        if any(step.status != "done" for step in result.steps):
            yield f"Complete pending steps: flowai release promote{env}"
        return
    yield f"{result.release}: {_stage(result.from_stage)} -> {_stage(result.to_stage)}.  Commit {result.registry_file}."
    is_soaking = result.to_stage == 100  # noqa: PLR2004 - percent
    yield f"After the soak: flowai release promote{env}" if is_soaking else f"Then: flowai canary-report{env}"
