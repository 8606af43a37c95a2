"""Records of trials that are about to be run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowai.evals.suites.assertion_types import COMPARISON_TYPES

if TYPE_CHECKING:
    from flowai.evals.assertions import AssertionFunction
    from flowai.evals.reports import Failure
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.evals.suites.records import Case, CodeRef
    from flowai.providers import Completion, Request


def has_comparison(case: Case) -> bool:
    """Return whether an assertion compares the answers of all prompts and targets."""
    return any(assertion.type in COMPARISON_TYPES for assertion in case.assertions)


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedTrial:
    """A trial whose request is ready to send."""

    planned: PlannedTrial
    request: Request
    """Without messages, if `is_late`."""
    cache_key: str | None
    """Key in the exact cache, includes the repeat; None for an answer that is never cached."""
    prompt_hash: str
    promises_json: bool
    """Whether the prompt or an assertion promises JSON."""
    checks: tuple[AssertionFunction, ...]
    logs_content: bool = False
    variables: dict[str, Any] = field(default_factory=dict)
    """Values of the prompt's variables."""
    prompt_text: str = ""
    """The rendered prompt: its text, or its messages as JSON; empty for a prompt of the project's library."""
    transforms: tuple[CodeRef, ...] = ()
    """Change the answer before it is checked."""
    recorded: Completion | Failure | None = None
    """Answer that is checked instead of calling a model; None to call it."""
    is_late: bool = False
    """Whether the request depends on code or on earlier cases, so that it is built just before the call."""
    is_serial: bool = False
    """Whether no other trial may run at the same time."""

    @property
    def needs_loop(self) -> bool:
        """True if code or a model is needed after the answer, so that the trial must be awaited."""
        return bool(
            self.is_late
            or self.transforms
            or self.planned.case.scoring is not None
            or has_comparison(self.planned.case)
            or any(check.is_async for check in self.checks)
        )
