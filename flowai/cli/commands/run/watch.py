"""`flowai watch`: options and screen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import AnyEnv, DryRun, State

if TYPE_CHECKING:
    from flowai.watch.records import WatchEnd, WatchEvent, WatchHead, WatchTick

_EVENT_WORDS = {
    "opened": "ALERT",
    "resolved": "RESOLVED",
    "rolled_back": "ROLLED BACK",
    "rollback_failed": "FAILED",
    "notified": "done",
    "waiting": "PENDING",
    "retiring": "RETIRING",
}
_STATUS_WORDS = {"ok": "ok", "no_calls": "no calls", "worse": "worse", "alert": "alert"}

EXAMPLES = examples(
    "flowai watch --env prod",
    "flowai watch --once --json",
    "flowai watch --for 30m --interval 10s --dry-run",
)


def command(
    interval: Annotated[str, typer.Option("--interval", metavar="DURATION", help="Time between two checks.")] = "30s",
    for_: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="Stop after this time; default never.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Check once, act, and exit.")] = False,
    dry_run: DryRun = False,
    env: AnyEnv = None,
    state: State = None,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per check.")] = False,
) -> None:
    """Alert when too many calls fail; roll back a worse candidate.

    Checks the event log until Ctrl-C or SIGTERM. The registry defines the rules: `policies.alert` for failed calls,
    `policies.watch` for guardrails of a rollout, `policies.retirement` for models that end soon, which are told once.
    Exit status of --once and --for: 0 healthy, 1 an incident is open, a guardrail is worse or a release was rolled
    back, 4 an action or a read failed, 5 there were no calls. SIGTERM: 0. Ctrl-C: 130.
    """
    from flowai.cli import console
    from flowai.timestamps import parse_option_s
    from flowai.watch.records import WatchOptions
    from flowai.watch.stop_signal import StopSignal
    from flowai.watch.watcher import run_watch

    options = WatchOptions(
        env=env,
        state=state,
        interval_s=parse_option_s(interval, option="--interval"),
        for_s=None if for_ is None else parse_option_s(for_, option="--for"),
        once=once,
        dry_run=dry_run,
    )
    screen = _WatchScreen(json=json, interval="" if once else interval, is_dry_run=dry_run)
    context = console.command_context()
    with StopSignal() as stop:
        try:
            end = run_watch(context, options, on_head=screen.head, on_tick=screen.tick, wait=stop.wait)
        finally:
            screen.close()
    status = exit_status(end, is_interrupt=stop.is_interrupt)
    if end.is_stopped:
        screen.stopped(end)
    if status:
        raise typer.Exit(status)


def exit_status(end: WatchEnd, *, is_interrupt: bool) -> int:
    """Return the exit status of a watch."""
    from flowai.errors import ExitCode

    if end.is_stopped:
        return ExitCode.INTERRUPTED if is_interrupt else ExitCode.DONE
    if end.has_errors:
        return ExitCode.INFRASTRUCTURE
    if end.open_count or end.has_rolled_back or end.has_worse_guardrail:
        return ExitCode.GATE_NOT_MET
    return ExitCode.DONE if end.has_seen_calls else ExitCode.INCONCLUSIVE


class _WatchScreen:
    """Prints changes; on a terminal also a status line."""

    def __init__(self, *, json: bool, interval: str, is_dry_run: bool) -> None:
        from flowai.cli import console

        self._json = json
        self._interval = interval
        self._is_dry_run = is_dry_run
        self._status = ""
        self._warnings: tuple[str, ...] = ()
        self._has_line = False
        self._shows_line = not json and console.wants_progress()

    def head(self, head: WatchHead) -> None:
        if not self._json:
            self._print(head_line(head, self._interval, is_dry_run=self._is_dry_run))

    def tick(self, tick: WatchTick) -> None:
        if self._json:
            import msgspec

            from flowai.cli import console

            sys.stdout.write(console.escape_json(msgspec.json.encode(tick).decode()) + "\n")
            sys.stdout.flush()
            return
        for warning in tick.warnings:
            if warning not in self._warnings:
                self._print(f"warning: {warning}")
        self._warnings = tick.warnings
        for event in tick.events:
            self._print(event_line(event, tick))
        if tick.status != self._status:
            self._print(status_line(tick))
        self._status = tick.status
        self._show(tick)

    def _print(self, line: str) -> None:
        from flowai.cli import console

        self._clear()
        console.print_styled(line)
        console.flush()

    def _show(self, tick: WatchTick) -> None:
        if self._shows_line:
            import shutil

            from flowai.rendering.markdown import visible

            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[2K{visible(status_line(tick))[:width]}")
            sys.stderr.flush()
            self._has_line = True

    def _clear(self) -> None:
        if self._has_line:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._has_line = False

    def close(self) -> None:
        """Clear the status line."""
        self._clear()

    def stopped(self, end: WatchEnd) -> None:
        from flowai.cli import console
        from flowai.rendering import formatting

        incidents = formatting.count(end.open_count, "incident")
        open_text = f"; {incidents} open, stored for the next watch" if end.open_count else ""
        console.print_progress_line(f"stopped{open_text}")


def head_line(head: WatchHead, interval: str, *, is_dry_run: bool) -> str:
    """Return the first line: environment, rule and recipients."""
    from flowai.rendering import formatting

    minutes = round(head.window_s / 60)
    percent = formatting.format_number(round(head.error_rate * 100, 2))
    rule = f"more than {percent} % of at least {head.min_calls:,} calls fail"
    over = f"in {minutes} min, or in 60 min and still in 5" if minutes != 60 else "in 60 min"  # noqa: PLR2004 - an hour
    every = f" every {interval}" if interval else ""
    recipients = ", ".join(head.recipients) if head.recipients else "no recipient (the registry has no `alerts`)"
    verb = "would notify" if is_dry_run else "notifies"
    return f"watching {head.environment or 'the registry'}{every}: {rule} {over}; {verb} {recipients}; times are UTC"


def event_line(event: WatchEvent, tick: WatchTick) -> str:
    """Format a change."""
    dry_run = "(dry run) " if event.is_dry_run else ""
    return f"{_EVENT_WORDS[event.event]:<12}{tick.at:%H:%M:%S}  {dry_run}{event.message}"


def status_line(tick: WatchTick) -> str:
    """Return the status line: calls, failure rate, rollout, worse guardrails, open incidents."""
    from flowai.rendering import formatting

    parts = []
    if tick.call_count:
        rate = formatting.rate(tick.failure_count / tick.call_count)
        parts.append(f"{formatting.count(tick.call_count, 'call')} in {round(tick.window_s / 60)} min, {rate} failed")
    elif tick.since_last_call_s is None:
        parts.append("no calls for an hour or more: state unknown")
    else:
        parts.append(f"no calls for {round(tick.since_last_call_s / 60)} min: state unknown")
    if tick.rollout is not None:
        rollout = tick.rollout
        users = formatting.count(rollout.user_count, "user")
        parts.append(f"{rollout.release} at {rollout.stage} %: {rollout.failed_user_count:,} of {users} failed")
    if tick.judgement is not None and tick.judgement.worse:
        from flowai.watch.wording import guardrails_text

        parts.append(guardrails_text(tick.judgement.worse))
    if tick.incidents:
        parts.append(f"{formatting.count(len(tick.incidents), 'incident')} open")
    return f"{_STATUS_WORDS[tick.status]:<12}{tick.at:%H:%M:%S}  {'; '.join(parts)}"
