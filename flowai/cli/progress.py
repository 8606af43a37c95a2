"""Progress of a run on stderr: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flowai.cli import console
from flowai.rendering import formatting

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.progress import Progress, TaskID

    from flowai.evals.reports import Trial
    from flowai.evals.runs.trials import Forecast


_QUIET_S = 2.0


class RunProgress:
    """Progress of a run; a context manager that removes the bar at the end."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._total_count = 0
        self._done_count = 0
        self._judged_count = 0
        self._passed_count = 0
        self._cost_usd = 0.0

    def forecast(self, forecast: Forecast) -> None:
        """Print the number of calls and their estimated cost; start the bar."""
        self._total_count = forecast.trial_count
        if not forecast.call_count:
            return
        console.print_progress_line(_forecast_line(forecast))
        if console.wants_progress():
            self._start()

    def ready(self, model: str, load_s: float) -> None:
        """Print that a local model is loaded; latency excludes its start."""
        console.print_progress_line(f"{model} ready in {load_s:.1f} s (not counted)")

    def trial(self, trial: Trial) -> None:
        """Count a finished trial."""
        self._done_count += 1
        self._judged_count += trial.outcome in ("pass", "fail")
        self._passed_count += trial.outcome == "pass"
        self._cost_usd += 0.0 if trial.cache == "exact" else trial.cost_usd or 0.0
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done_count, figures=self._figures())
        elif trial.cache != "exact" and self._is_tenth_done():
            console.print_progress_line(f"{self._done_count}/{self._total_count} done, {self._figures()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _start(self) -> None:
        self._bar = _stage_bar()
        self._task = self._bar.add_task("", total=self._total_count, figures="")
        self._bar.update(self._task, completed=self._done_count, figures=self._figures())
        self._bar.start()

    def _figures(self) -> str:
        rate = self._passed_count / self._judged_count if self._judged_count else None
        return f"pass rate {formatting.rate(rate)}, {formatting.dollars(self._cost_usd)}"

    def _is_tenth_done(self) -> bool:
        tenth = max(1, self._total_count // 10)
        return self._done_count % tenth == 0


class StageProgress:
    """Progress of a command in stages; shown once it takes more than two seconds."""

    def __init__(self) -> None:
        self._begin_s = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._total_count: int | None = None
        self._done_count = 0
        self._is_printed = False

    def start(self, stage: str, total_count: int | None) -> None:
        """Begin a stage; `total_count` is None if the number of its items is unknown."""
        self._stage, self._total_count, self._done_count, self._is_printed = stage, total_count, 0, False
        if self._bar is not None and self._task is not None:
            self._bar.reset(self._task, total=total_count, figures=stage)
        self._show()

    def advance(self, count: int) -> None:
        """Count finished items of the stage."""
        self._done_count += count
        self._show()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self) -> None:
        if time.monotonic() - self._begin_s < _QUIET_S:
            return
        if not console.wants_progress():
            if not self._is_printed:
                self._is_printed = True
                total = "" if self._total_count is None else f" {self._total_count:,}"
                console.print_progress_line(f"{self._stage}{total}")
            return
        if self._bar is None:
            self._bar = _stage_bar()
            self._task = self._bar.add_task("", total=self._total_count, figures=self._stage)
            self._bar.start()
        if self._task is not None:
            self._bar.update(self._task, completed=self._done_count)


def _stage_bar() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        console=console.stderr(),
        transient=True,
    )


def _forecast_line(forecast: Forecast) -> str:
    calls = formatting.count(forecast.call_count, "call")
    cached = f" ({forecast.cached_count} of {forecast.trial_count} answers are cached)" if forecast.cached_count else ""
    if forecast.cost_usd is None:
        price = "price unknown"
    elif forecast.cost_usd == 0:
        price = "no cost"
    else:
        price = f"about {formatting.dollars(forecast.cost_usd)}"
    return f"{calls} to {', '.join(forecast.models)}{cached}: {price}"
