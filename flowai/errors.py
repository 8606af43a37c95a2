"""Exceptions of flowai: the class states the kind of failure and the exit code; each carries a hint.

FlowaiError                     70  never raised directly
├── UsageError                   2  the command line names something unknown or contradicts itself
│   ├── InvalidMessagesError     2  chat messages that cannot be sent to any model; carries their place
│   └── CallNotFoundError        2  a call is neither of this process nor in the log of today and yesterday
├── ProjectError                 3  a file of the project is missing or wrong
│   ├── RegistryError            3  registry.yaml or registry.<env>.yaml
│   ├── PromptError              3  a prompt file, its variables, or prompts.lock
│   ├── SuiteError               3  a file in evals/, or an assertion in it
│   ├── DatasetError             3  a table of cases
│   ├── MissingKeyError          3  a model needs an environment variable that is not set
│   └── RecordingMissError       3  replay: the request was never recorded
├── InfrastructureError          4  this machine or a service failed: disk full, port in use, no server
│   ├── FileWriteError           4  a file cannot be written: disk full, read-only
│   ├── BudgetError              4  a call would cost more than its feature may spend
│   └── CallError                4  a provider failed; carries provider, model, status and whether a retry may succeed
│       ├── RateLimitedError     4  429, or the provider's equivalent
│       ├── TimedOutError        4  no answer, or no first token, within the time limit
│       ├── UnreachableError     4  refused, reset, no route, no such host
│       ├── ServerError          4  5xx, overloaded
│       ├── AuthError            4  401, 402, 403: the key is missing, wrong or not allowed, or the account is empty
│       ├── ModelNotFoundError   4  404: the model does not exist or was retired
│       ├── ContextTooLongError  4  the request is longer than the model's context
│       ├── ContentFilteredError 4  the provider's policy rejected the request or the answer
│       ├── InvalidRequestError  4  400, 422 with an error object about the request: the request itself is wrong
│       ├── MalformedAnswerError 4  the answer broke off or violates the protocol
│       └── AllModelsFailedError 4  every model of the fallback chain failed or was skipped; carries each failure
├── InconclusiveError            5  not enough data for a verdict, or nothing matched
└── InterruptedRunError        130  the user stopped the command; finished work is kept and can be resumed
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """Exit status of a command; stable, so that pipelines can branch on it."""

    DONE = 0, "done, gate met"
    GATE_NOT_MET = 1, "gate not met (or verdict `rollback`)"
    USAGE = 2, "wrong usage"
    PROJECT = 3, "project files are missing or wrong"
    INFRASTRUCTURE = 4, "providers or infrastructure failed (outranks 1)"
    INCONCLUSIVE = 5, "inconclusive: not enough data, `hold`, `invalid`, nothing matched"
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
    """Position in one of the user's files."""

    file: str
    """Path as the user types it: relative to the project where possible."""
    line: int | None = None
    """Counted from 1."""
    key: str | None = None
    """Dotted path of the key (`features.summarization.model`)."""

    def __str__(self) -> str:
        """Return `file:line: key`, which editors and terminals link."""
        head = self.file if self.line is None else f"{self.file}:{self.line}"
        return head if self.key is None else f"{head}: {self.key}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PartialUsage:
    """Tokens of an answer that failed after it had begun: the provider may bill them."""

    character_count: int = 0
    """Characters of the answer that came, reasoning and arguments of tools included."""
    input_tokens: int | None = None
    """As reported; None when they were not."""
    output_tokens: int | None = None
    """As reported; None when they were not."""
    is_final: bool = True
    """Whether the reported output tokens are all that came; Anthropic reports the first ones before the answer."""
    cost_usd: float | None = None
    """Of the reported tokens by LiteLLM's table; None when unknown."""


class FlowaiError(Exception):
    """Base class of all failures that flowai reports on purpose.

    Args:
        what: the problem, with found and expected; lower case, no full stop, names in backticks.
        place: its position, if it is in a file.
        hint: the remedy, if there is one.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, what: str, *, place: Place | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.place = place
        self.hint = hint

    def __str__(self) -> str:
        """Return one line: the place, then the problem."""
        return self.what if self.place is None else f"{self.place}: {self.what}"


class UsageError(FlowaiError):
    """The command line names something unknown or contradicts itself."""

    exit_code = ExitCode.USAGE


class InvalidMessagesError(UsageError):
    """Chat messages cannot be sent to any model; no model was called.

    Args:
        what: the problem, with found and expected.
        param: the place in the request (`messages.0.content.1.type`).
        hint: the remedy.
    """

    def __init__(self, what: str, *, param: str, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.param = param


class CallNotFoundError(UsageError):
    """A call is neither of this process nor in the log of today and yesterday."""


class ProjectError(FlowaiError):
    """A file of the project is missing or wrong."""

    exit_code = ExitCode.PROJECT


class RegistryError(ProjectError):
    """registry.yaml, or an environment's overlay of it, is missing or wrong."""


class PromptError(ProjectError):
    """A prompt file, its variables, or prompts.lock is wrong."""


class SuiteError(ProjectError):
    """A file in evals/ is missing or wrong, or names an unknown assertion."""


class DatasetError(ProjectError):
    """A table of cases is missing or wrong."""


class MissingKeyError(ProjectError):
    """A model needs an environment variable that is not set; raised before any call."""


class RecordingMissError(ProjectError):
    """A replay has no recorded answer for a request."""


class InfrastructureError(FlowaiError):
    """This machine or a service failed: disk full, a server that did not start, a provider that is down."""

    exit_code = ExitCode.INFRASTRUCTURE


class FileWriteError(InfrastructureError):
    """A file cannot be written: the disk is full, or the directory read-only or none at all."""


class BudgetError(InfrastructureError):
    """A call would cost more than its feature may spend; raised before the call.

    Args:
        what: the limit, with found and expected.
        retry_after_s: seconds until a retry makes sense, >= 0; None when waiting does not help.
        is_spent: whether the money is spent until the limit is renewed; False if calls under way only hold it.
        hint: the remedy.
    """

    def __init__(
        self, what: str, *, retry_after_s: float | None = None, is_spent: bool = True, hint: str | None = None
    ) -> None:
        super().__init__(what, hint=hint)
        self.retry_after_s = retry_after_s
        self.is_spent = is_spent


class CallError(InfrastructureError):
    """A call to a model failed.

    Args:
        what: the provider's reason, secrets redacted.
        provider: `openai`, `local`, or the host of an `api_base`.
        model: the registry's name of the model.
        status: HTTP status; None when no answer came.
        retry_after_s: seconds to wait, as the provider asks, >= 0; None when it does not.
        endpoint: address that was called, without credentials; None for the provider's own.
        hint: the remedy.
    """

    retryable: ClassVar[bool] = False
    """Whether the same request may succeed later or at another provider."""

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
        self.is_provider_fault = True
        """Whether it proves that the provider fails; False where the request, its limits or the model's words explain
        it: a circuit breaker does not count it then."""
        self.partial_usage: PartialUsage | None = None
        """Tokens that came before the failure; None if no part of an answer came."""
        self.was_tried = True
        """Whether the model was tried; False if its request could not be built, so that the failure says nothing about
        the model: it is not counted, not repeated and no reason for another model."""
        self.provider = provider
        self.model = model
        self.status = status
        self.retry_after_s = retry_after_s
        self.endpoint = endpoint

    def __str__(self) -> str:
        """Return `provider: what`, as screens print it."""
        return f"{self.provider}: {self.what}"


class RateLimitedError(CallError):
    """The provider answered 429 or its equivalent."""

    retryable = True


class TimedOutError(CallError):
    """No answer, or no first token, came within the time limit."""

    retryable = True


class UnreachableError(CallError):
    """The connection was refused or reset, or the host does not exist."""

    retryable = True
    is_silent: bool = False
    """Whether no packet came back until the time limit of opening a connection."""


class ServerError(CallError):
    """The provider failed: 5xx, overloaded."""

    retryable = True


class AuthError(CallError):
    """The key is missing, wrong or not allowed to use this model, or its account has no credit (401, 402, 403, 451)."""

    is_out_of_credit: bool = False
    """Whether the account has no credit or quota left."""


class ModelNotFoundError(CallError):
    """The provider does not know the model, or has retired it (404)."""


class ContextTooLongError(CallError):
    """The request is longer than the model's context."""


class ContentFilteredError(CallError):
    """The provider's policy rejected the request or the answer."""


class InvalidRequestError(CallError):
    """The request itself is wrong: 400, 405, 415, 422 with an error object about it; 413, 501."""


class MalformedAnswerError(CallError):
    """The answer broke off or violates the protocol."""

    retryable = True


class AllModelsFailedError(CallError):
    """Every model of the fallback chain failed or was skipped.

    Args:
        what: each model with its failure.
        failures: the error of each attempt, in order; empty when all were skipped.
        provider: of the last model.
        model: the last model.
        retry_after_s: seconds until a retry makes sense, >= 0; None when unknown.
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
        hint = "`explain` lists each attempt with its failure; add a fallback or a `degrade` model to the feature"
        super().__init__(what, provider=provider, model=model, retry_after_s=retry_after_s, hint=hint)
        self.failures = failures

    def __str__(self) -> str:
        """Return each model with its failure, without the provider in front: the text names each provider."""
        return self.what


class InconclusiveError(FlowaiError):
    """There is not enough data for a verdict, or nothing matched."""

    exit_code = ExitCode.INCONCLUSIVE


class InterruptedRunError(FlowaiError):
    """The user stopped the command; finished work is kept and can be resumed."""

    exit_code = ExitCode.INTERRUPTED


def expected_one_of(names: Iterable[str], *, found: str | None = None, max_count: int = 12) -> str:
    """Return `did you mean `x`? there are: a, b, c` for the valid names, or `there are none`.

    Args:
        names: the valid names.
        found: the invalid name; the valid one nearest to it is suggested.
        max_count: number of names to list at most.
    """
    known = sorted(set(names))
    if not known:
        return "there are none"
    listed = ", ".join(f"`{name}`" for name in known[:max_count])
    if len(known) > max_count:
        listed += f" and {len(known) - max_count} more"
    near: list[str] = []
    if found is not None:
        import difflib  # late: errors are rare

        near = difflib.get_close_matches(found, known, n=1)
    head = f"did you mean `{near[0]}`? " if near else ""
    return f"{head}there are: {listed}"


def describe_error(error: BaseException) -> str:
    """Describe an exception in one line; one that is not flowai's own is unexpected."""
    if isinstance(error, FlowaiError):
        return str(error)
    text = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}{f': {text}' if text else ''}"
