"""The exception tree of flowai: each class says what kind of failure, which exit code, and carries a hint.

FlowaiError                     70  never raised itself; a bare one would be a bug of ours
├── UsageError                   2  the command line asks for something that does not exist or contradicts itself
├── ProjectError                 3  a file of the project is missing or wrong
│   ├── RegistryError            3  registry.yaml or registry.<env>.yaml
│   ├── PromptError              3  a prompt file, its variables, or prompts.lock
│   ├── SuiteError               3  a file in evals/, or an assertion in it
│   ├── DatasetError             3  a table of cases
│   ├── MissingKeyError          3  a model needs an environment variable that is not set
│   └── RecordingMissError       3  replay: the request was never recorded
├── InfrastructureError          4  this machine failed: disk full, no such port, a server that did not start
│   ├── BudgetError              4  a call would cost more than its feature may spend
│   └── CallError                4  a provider failed; carries provider, model, status and whether to try again
│       ├── RateLimitedError     4  429, or the provider's word for it
│       ├── TimedOutError        4  no answer, or no first token, in the time allowed
│       ├── UnreachableError     4  refused, reset, no route, no such host
│       ├── ServerError          4  5xx, overloaded
│       ├── AuthError            4  401, 403: the key is missing, wrong or not allowed
│       ├── ModelNotFoundError   4  404: the model does not exist or was retired
│       ├── ContextTooLongError  4  the request is longer than the model's context
│       ├── ContentFilteredError 4  the provider's policy rejected the request or the answer
│       ├── InvalidRequestError  4  any other 4xx: the request itself is wrong
│       ├── MalformedAnswerError 4  the answer broke off or is not what the protocol promises
│       └── LadderError          4  every model a call may try has failed or may not be asked now; carries each failure
├── UndecidedError               5  too little to decide on: nothing matched, no data
└── InterruptedRunError        130  the person stopped it; what was done is kept and can be resumed
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """What a command's exit status says; stable, so that pipelines can branch on it."""

    DONE = 0, "done, gate met"
    GATE_NOT_MET = 1, "gate not met (or verdict `rollback`)"
    USAGE = 2, "wrong usage"
    PROJECT = 3, "project files are missing or wrong"
    INFRASTRUCTURE = 4, "providers or infrastructure failed (outranks 1)"
    UNDECIDED = 5, "undecided: too little data, `hold`, `invalid`, nothing matched"
    BUG = 70, "a bug in flowai"
    INTERRUPTED = 130, "interrupted, resumable"

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Attach the meaning to the number, so that the docs are generated from one place."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where in the user's files something stands."""

    file: str
    """Path as the user would type it (relative to the project where possible)."""
    line: int | None = None
    """Line in the file, counted from 1; None when it has none."""
    key: str | None = None
    """Dotted path of the key inside the file (`features.summarization.model`); None when it has none."""

    def __str__(self) -> str:
        """Give `file:line: key`, as editors and terminals link it."""
        head = self.file if self.line is None else f"{self.file}:{self.line}"
        return head if self.key is None else f"{head}: {self.key}"


class FlowaiError(Exception):
    """The root of every failure flowai reports on purpose.

    Args:
        what: what is wrong, with found and expected; lower case, no full stop, names in backticks.
        place: where it stands, if it stands in a file.
        hint: what to do about it, if we know.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, what: str, *, place: Place | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.place = place
        self.hint = hint

    def __str__(self) -> str:
        """Give one line: the place, then what is wrong."""
        return self.what if self.place is None else f"{self.place}: {self.what}"


class UsageError(FlowaiError):
    """The command line asks for something that does not exist or contradicts itself."""

    exit_code = ExitCode.USAGE


class ProjectError(FlowaiError):
    """A file of the project is missing or wrong."""

    exit_code = ExitCode.PROJECT


class RegistryError(ProjectError):
    """registry.yaml, or an environment's overlay of it, is missing or wrong."""


class PromptError(ProjectError):
    """A prompt file, the variables given to it, or prompts.lock is wrong."""


class SuiteError(ProjectError):
    """A file in evals/ is missing or wrong, or names an assertion we do not have."""


class DatasetError(ProjectError):
    """A table of cases is missing or wrong."""


class MissingKeyError(ProjectError):
    """A model needs an environment variable that is not set; raised before any call."""


class RecordingMissError(ProjectError):
    """Replay was asked for a request that was never recorded."""


class InfrastructureError(FlowaiError):
    """This machine or a service failed: disk full, a server that did not start, a provider that is down."""

    exit_code = ExitCode.INFRASTRUCTURE


class BudgetError(InfrastructureError):
    """A call would cost more than its feature may spend; raised before anything is paid.

    Args:
        what: which limit, with found and expected.
        retry_after_s: seconds until the limit is a new one, >= 0; None when waiting changes nothing.
        hint: what to do about it.
    """

    def __init__(self, what: str, *, retry_after_s: float | None = None, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.retry_after_s = retry_after_s


class CallError(InfrastructureError):
    """A call to a model failed.

    Args:
        what: the provider's reason, secrets redacted.
        provider: who was asked (`openai`, `local`).
        model: the registry's name of the model.
        status: HTTP status; None when no answer came.
        retry_after_s: seconds the provider asks us to stay away, >= 0; None when it did not say.
        endpoint: address that was called, without credentials; None when the provider's own.
        hint: what to do about it.
    """

    retryable: ClassVar[bool] = False  # whether the same request may succeed later or elsewhere

    def __init__(
        self,
        what: str,
        *,
        provider: str,
        model: str,
        status: int | None = None,
        retry_after_s: float | None = None,
        endpoint: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, hint=hint)
        self.provider = provider
        self.model = model
        self.status = status
        self.retry_after_s = retry_after_s
        self.endpoint = endpoint

    def __str__(self) -> str:
        """Give `provider: what`, the way the screens print it."""
        return f"{self.provider}: {self.what}"


class RateLimitedError(CallError):
    """The provider said 429 or its own word for it."""

    retryable = True


class TimedOutError(CallError):
    """No answer, or no first token, came in the time allowed."""

    retryable = True


class UnreachableError(CallError):
    """The connection was refused or reset, or the host does not exist."""

    retryable = True


class ServerError(CallError):
    """The provider failed: 5xx, overloaded."""

    retryable = True


class AuthError(CallError):
    """The key is missing, wrong or not allowed to use this model (401, 403)."""


class ModelNotFoundError(CallError):
    """The provider does not know the model, or has retired it (404)."""


class ContextTooLongError(CallError):
    """The request is longer than the model's context."""


class ContentFilteredError(CallError):
    """The provider's policy rejected the request or the answer."""


class InvalidRequestError(CallError):
    """The request itself is wrong (any other 4xx)."""


class MalformedAnswerError(CallError):
    """The answer broke off, or is not what the protocol promises."""

    retryable = True


class AllModelsFailedError(CallError):
    """Every model that a call may try has failed, or may not be asked now.

    Args:
        what: each model and how it failed.
        failures: the error of each attempt, in order; empty when none could start.
        provider: the last one.
        model: the last one.
        retry_after_s: seconds until trying again makes sense, >= 0; None when nobody said.
    """

    retryable = True

    def __init__(
        self,
        what: str,
        *,
        failures: tuple[FlowaiError, ...],
        provider: str,
        model: str,
        retry_after_s: float | None = None,
    ) -> None:
        hint = "`explain` says what each attempt met; add a fallback or a `degrade` model to the feature"
        super().__init__(what, provider=provider, model=model, retry_after_s=retry_after_s, hint=hint)
        self.failures = failures

    def __str__(self) -> str:
        """Give what each model met; it names the providers itself."""
        return self.what


class InconclusiveError(FlowaiError):
    """There is too little to decide on: nothing matched, no data."""

    exit_code = ExitCode.UNDECIDED


class InterruptedRunError(FlowaiError):
    """The person stopped the command; what was finished is kept and can be resumed."""

    exit_code = ExitCode.INTERRUPTED


def expected_one_of(names: Iterable[str], *, found: str | None = None, most_count: int = 12) -> str:
    """Phrase the expected names for an error: the nearest one first, then the others.

    Args:
        names: what would have been right.
        found: what stood there; its nearest neighbour is named as a suggestion.
        most_count: how many names to list at most.

    Returns:
        `did you mean `x`? there are: a, b, c` or `there are none`.
    """
    known = sorted(set(names))
    if not known:
        return "there are none"
    listed = ", ".join(f"`{name}`" for name in known[:most_count])
    if len(known) > most_count:
        listed += f" and {len(known) - most_count} more"
    near: list[str] = []
    if found is not None:
        import difflib  # only when something is already wrong

        near = difflib.get_close_matches(found, known, n=1)
    head = f"did you mean `{near[0]}`? " if near else ""
    return f"{head}there are: {listed}"
