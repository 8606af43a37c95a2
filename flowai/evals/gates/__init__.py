"""The gate of a run: limits, comparison with a baseline, slices, critical cases, flaky cases, early stop."""

from flowai.evals.gates.decision import GateInputs, GateOutcome, judge_run
from flowai.evals.gates.limits import decide, exit_code

__all__ = ["GateInputs", "GateOutcome", "decide", "exit_code", "judge_run"]
