"""`flowai rollback`: options and screen."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import AnyEnv, DryRun, JsonOption, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flowai.rollouts.drill import DrillResult
    from flowai.rollouts.records import RollbackOptions, RollbackResult, RollbackStep

_WORDS = {"done": "done", "pending": "PENDING", "failed": "FAILED", "skipped": "-"}
_MAX_NAMES = 20

EXAMPLES = examples(
    "flowai rollback --reason INC-4711",
    "flowai rollback --env prod --dry-run",
    "flowai rollback --env prod --drill",
    "flowai rollback --to v1 --state redis://cache.example.com:6379/0",
)


def command(  # noqa: PLR0913, PLR0917 - a command's options
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="RELEASE", help="Release to return to; default the newest known good release."),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="Reason, recorded in the ledger and sent with the alert."),
    ] = None,
    env: AnyEnv = None,
    state: State = None,
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry",
            metavar="PATH|URL",
            help="Registry to use; default FLOWAI_REGISTRY or the project's registry.yaml.",
        ),
    ] = None,
    dry_run: DryRun = False,
    drill: Annotated[
        bool,
        typer.Option("--drill", help="Check that a rollback would reach every process; nothing that serves changes."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Return to a release even if it was never known good.")
    ] = False,
    ignore_process: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore-process",
            metavar="NAME",
            help="Silent process that you know to be dead; it is forgotten. May be given several times.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accepted for scripts; rollback never asks.")] = False,  # noqa: ARG001 - see its help
    json: JsonOption = False,
) -> None:
    """Stop serving a bad release at once, without a question.

    An active rollout ends; otherwise the newest known good release serves. Each release that stops serving is marked
    bad. A second run changes nothing and completes pending steps. Exit status: 0 done, 4 if a process does not confirm
    or fell silent, or if the shared state or the registry is unreachable. A drill takes the same way and has the same
    exit status.
    """
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.rollouts.records import RollbackOptions
    from flowai.rollouts.rollback import run_rollback

    options = RollbackOptions(
        to=to,
        reason=reason,
        env=env,
        state=state,
        registry=registry,
        force=force,
        dry_run=dry_run,
        ignored_processes=tuple(ignore_process or ()),
    )
    screen = _RollbackScreen(quiet=json)
    if drill:
        _run_drill(options, screen, json=json)
        return
    result = run_rollback(console.command_context(), options, screen.plan, screen.step)
    screen.show(lambda: console.print_json(result) if json else _print(result_lines(result)))
    if not result.is_confirmed:
        raise typer.Exit(ExitCode.INFRASTRUCTURE)


def _run_drill(options: RollbackOptions, screen: _RollbackScreen, *, json: bool) -> None:
    from flowai.cli import console
    from flowai.errors import ExitCode, UsageError
    from flowai.rollouts.drill import run_drill

    if options.to is not None or options.force or options.dry_run:
        raise UsageError("--drill changes nothing that serves, so --to, --force and --dry-run do not fit it")
    result = run_drill(console.command_context(), options, screen.step)
    screen.show(lambda: console.print_json(result) if json else _print(drill_lines(result)))
    if not result.is_passed:
        raise typer.Exit(ExitCode.INFRASTRUCTURE)


class _RollbackScreen:
    """Prints each step when it is done; the rollback continues if stdout is closed or its disk is full."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def plan(self, result: RollbackResult) -> None:
        if not self._quiet:
            self.show(lambda: _print(plan_lines(result)))

    def step(self, step: RollbackStep) -> None:
        if not self._quiet:
            self.show(lambda: _print((step_line(step),)))

    def show(self, printing: Callable[[], None]) -> None:
        if sys.stdout is None:  # closed before the start
            return
        try:
            printing()
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(lines: Iterable[str]) -> None:
    from flowai.cli import console

    for line in lines:
        console.print_styled(line)


def plan_lines(result: RollbackResult) -> Iterator[str]:
    """Yield the plan: releases that stop serving, the serving release, and their differences."""
    if not result.rolled_back:
        yield f"{result.serving} already serves; nothing to roll back"
        return
    rolled_back = " and ".join(result.rolled_back)
    stage = "" if result.stage is None else f" (canary {result.stage}{' %' if isinstance(result.stage, int) else ''})"
    good = f" (known good since {result.good_since})" if result.good_since else ""
    if result.changed:
        is_are = "are" if len(result.rolled_back) > 1 else "is"
        will = "would be" if result.is_dry_run else is_are
        yield f"{rolled_back}{stage} -> {result.serving}{good}; {rolled_back} {will} marked bad"
    elif result.finishes:
        yield f"{rolled_back} -> {result.serving}{good}: recorded by an earlier run, but not done; this run finishes it"
    else:
        yield f"{rolled_back} -> {result.serving}{good}: already rolled back; nothing new is decided"
    for difference in result.differences:
        what = "" if difference.what == "prompt" else f"{difference.what} "
        yield f"  {difference.feature}: {what}{difference.before or '-'} -> {difference.after or '-'}"


def step_line(step: RollbackStep) -> str:
    """Format a step."""
    elapsed = "" if step.elapsed_ms is None else f"{step.elapsed_ms:8.0f} ms"
    return f"{_WORDS[step.status]:<8} {step.name:<19} {step.detail:<36}{elapsed}".rstrip()


def result_lines(result: RollbackResult) -> Iterator[str]:
    """Yield warnings, processes without confirmation, the verdict, and the next commands."""
    for warning in result.warnings:
        yield f"warning: {warning}"
    if result.is_dry_run:
        yield f"NOTHING CHANGED  {result.process_count} live processes would be notified"
        return
    for name in result.unconfirmed[:_MAX_NAMES]:
        yield f"  unconfirmed: {name}"
    for text in result.silent[:_MAX_NAMES]:
        yield f"  silent: {text}"
    if result.silent:
        yield "  Stop it or restart it. If it is dead, run the command again with --ignore-process NAME"
    if result.unreachable:
        yield f"  unreachable: {', '.join(result.unreachable[:_MAX_NAMES])}"
    yield from _place_lines(result)
    yield _verdict(result)
    if result.rolled_back and result.is_in_git:
        releases = " and ".join(result.rolled_back)
        yield f"Before the next deploy: git commit -m 'Roll back {releases}' {result.registry_file}"
    elif result.rolled_back:
        edit = f"set `current: {result.serving}`, and add {' and '.join(result.rolled_back)} to `bad`"
        yield f"{result.registry_file} was not changed here: {edit} in its repository"
    if result.rolled_back:
        env = f" --env {result.environment}" if result.environment else ""
        yield f"Then: flowai postmortem{env} --since {result.since}"


def drill_lines(result: DrillResult) -> Iterator[str]:
    """Yield the processes that a rollback would not reach, and the verdict."""
    for name in result.unanswered[:_MAX_NAMES]:
        yield f"  no answer: {name}"
    for name in result.silent[:_MAX_NAMES]:
        yield f"  silent: {name}"
    failed = [step.name for step in result.steps if step.status == "failed"]
    if result.is_passed:
        reached = "the only process" if result.process_count == 1 else f"all {result.process_count} processes"
        yield f"DRILL PASSED: a rollback reaches {reached}; nothing was changed."
    else:
        yield f"DRILL FAILED: {', '.join(failed)}; nothing was changed."


def _place_lines(result: RollbackResult) -> Iterator[str]:
    """Yield what was changed and what was not, if the overlay or the registry file was not."""
    names = {"live overlay": "the shared state", result.registry_file: result.registry_file}
    unchanged = [step for step in result.steps if step.name in names and step.status != "done"]
    if not unchanged:
        return
    changed = dict.fromkeys(
        f"{names[step.name]} ({step.detail})" if step.name in names else step.detail for step in result.changed_places
    )
    if changed:
        yield f"changed: {'; '.join(changed)}"
    yield f"not changed: {'; '.join(f'{names[step.name]} ({step.detail})' for step in unchanged)}"


def _verdict(result: RollbackResult) -> str:
    serving = result.serving.upper()
    failed = [step.name for step in result.steps if step.status == "failed"]
    is_recorded = "ledger" not in failed  # otherwise the same command decides again
    retry = "  Complete pending steps: run the same command again." if result.pending and is_recorded else ""
    if unconfirmed_count := len(result.unconfirmed) + len(result.silent):
        return f"NOT CONFIRMED BY {unconfirmed_count} OF {result.process_count} PROCESSES.{retry}"
    if failed:
        if not result.changed_places:
            again = retry or "  Run the same command again when one of them can be reached."
            return f"NOTHING CHANGED; failed: {', '.join(failed)}.{again}"
        return f"{serving} SERVES WHERE REACHABLE; failed: {', '.join(failed)}.{retry}"
    if not result.rolled_back:
        return f"{serving} SERVES.{retry}"
    if result.process_count == 0:
        return f"NO LIVE PROCESS SEEN: only files and the overlay changed; processes follow when they start.{retry}"
    return f"{serving} SERVES EVERYWHERE.{retry}"
