"""The finished trials of a run in the order of its plan: in memory if there are few, else read from the log."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, overload

from flowai.evals.reports import Trial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.runs.plan import RunPlan
    from flowai.evals.runs.run_log import LoggedTrials

MAX_HELD_TRIALS = 5_000


def trials_of(plan: RunPlan, logged: LoggedTrials) -> Sequence[Trial]:
    """Return the finished trials of a run in the order of its plan."""
    trials = RunTrials(plan, logged)
    return tuple(trials) if len(trials) <= MAX_HELD_TRIALS else trials


class RunTrials(Sequence[Trial]):
    """Trials that are read from the log each time; iterate, rather than index."""

    def __init__(self, plan: RunPlan, logged: LoggedTrials) -> None:
        self._plan = plan
        self._logged = logged

    def __iter__(self) -> Iterator[Trial]:
        for planned in self._plan:
            trial = self._logged.get(planned.key)
            if trial is not None:
                yield trial

    def __len__(self) -> int:
        return len(self._logged)

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Trial]: ...
    def __getitem__(self, index: int | slice) -> Trial | Sequence[Trial]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return tuple(islice(self, start, stop, step)) if step > 0 else tuple(self)[index]
        number = range(len(self))[index]
        return next(islice(self, number, None))
