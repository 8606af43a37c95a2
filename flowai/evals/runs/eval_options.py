"""Options of `flowai eval`, and the combinations of them that contradict each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.evals.reports import WRITERS
from flowai.evals.runs.gating import GateOptions
from flowai.evals.runs.plan import Selection
from flowai.rendering.report_files import check_endings

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.evals.suites.records import Suite

DEFAULT_CONCURRENCY = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalOptions:
    """Options of `flowai eval`."""

    target: str | None = None
    """Prompt id, prompt file or suite file; None for every suite."""
    models: tuple[str, ...] = ()
    """Models to use instead of the suites' own."""
    selection: Selection = field(default_factory=Selection)
    failing_only: bool = False
    """Run only cases that failed or had an error in the last run on this target."""
    concurrency: int | None = None
    """Maximum number of calls in flight, >= 1; None for the suites' own."""
    cached: bool | None = None
    """Whether to use the exact cache; None for "not in CI"."""
    replay: Path | None = None
    """Recording, or directory of recordings, to use instead of models."""
    record: Path | None = None
    call_on_miss: bool = False
    """Call a model for answers that the replay does not have, and record them there."""
    from_outputs: Path | None = None
    """File of recorded answers by case, to check instead of calling models."""
    rescore: str | None = None
    """Run whose answers are checked again by the suite's present assertions; `last` for the last one."""
    fail_fast: bool = False
    resume: bool = False
    """Continue the last unfinished run of the same plan."""
    retry_errors: bool = False
    """Run the errors of the last run of the same plan again, keep its other trials."""
    case_timeout_s: float | None = None
    """Limit of one case, its checks included; None for the suites' own."""
    max_duration_s: float | None = None
    """Limit of all calls together; None for the suites' own."""
    max_cost_usd: float | None = None
    """Limit of what the calls cost; None for no limit."""
    runs_code: bool = True
    """Whether code of suites may run."""
    allows_net: bool = False
    """Whether suites may load tests from the network."""
    outputs: tuple[Path, ...] = ()
    gate: GateOptions = field(default_factory=GateOptions)

    @property
    def calls_no_model(self) -> bool:
        """True if every answer is recorded, so that the run needs no log and can be repeated at any time."""
        return self.replay is not None or self.from_outputs is not None or self.rescore is not None


def check_options(options: EvalOptions) -> None:
    """Check that the options do not contradict each other.

    Raises:
        UsageError: they do.
    """
    check_endings(options.outputs, WRITERS)
    sources = {
        "--replay": options.replay,
        "--from-outputs": options.from_outputs,
        "--rescore": options.rescore,
        "--record": options.record,
    }
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        hint = "--on-miss call adds answers that a replay does not have" if given[-1] == "--record" else None
        raise UsageError(f"{given[0]} and {given[1]} exclude each other", hint=hint)
    restarts = options.resume or options.retry_errors
    if restarts and options.replay is not None:
        raise UsageError("a replay always starts over: --resume and --retry-errors do not apply")
    if restarts and options.record is not None:
        raise UsageError("a recording is always complete: --resume and --retry-errors do not apply to --record")
    if restarts and options.calls_no_model:
        raise UsageError(f"{given[0]} always starts over: --resume and --retry-errors do not apply")
    if options.resume and options.retry_errors:
        raise UsageError("--resume and --retry-errors exclude each other", hint="--retry-errors resumes too")
    if options.call_on_miss and options.replay is None:
        raise UsageError("--on-miss needs --replay")
    if options.max_cost_usd is not None and not options.max_cost_usd >= 0:
        raise UsageError(f"--max-cost: found {options.max_cost_usd:g}, expected US dollars, 0 or more")
    if options.max_cost_usd is not None and options.calls_no_model and not options.call_on_miss:
        raise UsageError(f"--max-cost limits calls, and {given[0]} makes none")


def concurrency_of(options: EvalOptions, suites: tuple[Suite, ...]) -> int:
    """Return the maximum number of calls in flight: the option's, else the lowest of the suites, else 8."""
    if options.concurrency is not None:
        return options.concurrency
    if any(suite.evaluate.delay_s for suite in suites):  # a pause between calls means one call at a time
        return 1
    return min((suite.evaluate.max_concurrency or DEFAULT_CONCURRENCY for suite in suites), default=DEFAULT_CONCURRENCY)
