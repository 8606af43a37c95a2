"""Prepares trials: renders the prompt, compiles the checks. Mistakes are reported before any call is paid for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.cache.exact import cache_key
from flowai.errors import Place, PromptError
from flowai.evals.assertions import CheckServices, compile_checks
from flowai.gateway.plan import build_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flowai.evals.assertions import AssertionFunction
    from flowai.evals.runs.plan import PlannedTrial, TrialPlan
    from flowai.evals.suites.records import Assertion, Case, Suite
    from flowai.providers import Request
    from flowai.workspace.workspace import Workspace

MAX_HELD_TRIALS = 5_000
"""Trials of a larger plan are prepared anew each time they are needed."""
MAX_SHARED_CHECKS = 10_000
"""Compiled assertions that are kept for other cases with the same assertion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedTrial:
    """A trial whose request is ready to send."""

    planned: PlannedTrial
    request: Request
    cache_key: str | None
    """Key in the exact cache, includes the repeat; None for an answer that is never cached."""
    prompt_hash: str
    promises_json: bool
    """Whether the prompt or an assertion promises JSON."""
    checks: tuple[AssertionFunction, ...]
    logs_content: bool = False

    @property
    def needs_loop(self) -> bool:
        """True if a check calls a program or a model, so that it must be awaited."""
        return any(check.is_async for check in self.checks)


class TrialPreparer:
    """Prepares trials; each prompt, endpoint and shared assertion is prepared once.

    Args:
        workspace: prompts, models and features.
        services: returns what the checks of a suite may call.
    """

    def __init__(self, workspace: Workspace, services: Callable[[Suite], CheckServices] | None = None) -> None:
        self._workspace = workspace
        self._services_of = services or _alone(CheckServices())
        self._shared: dict[int, tuple[Assertion, tuple[AssertionFunction, ...]]] = {}
        """By identity; the assertion is held so that its identity stays its own."""

    def prepare(self, planned: Iterable[PlannedTrial]) -> list[PreparedTrial]:
        """Prepare all trials at once."""
        return [self.prepare_trial(trial) for trial in planned]

    def prepare_trial(self, planned: PlannedTrial) -> PreparedTrial:
        """Render the prompt and compile the assertions of one trial.

        Raises:
            PromptError: the case's variables do not fit the prompt.
            SuiteError: an assertion has a wrong value or threshold.
        """
        workspace, target, case = self._workspace, planned.target, planned.case
        prompt = workspace.library.load(target.prompt)
        feature = workspace.registry.feature(target.feature) if target.feature else None
        endpoint = workspace.endpoint(target.model)
        try:
            request = build_request(prompt, prompt.select(case.vars), endpoint, params=target.params, feature=feature)
        except PromptError as error:
            raise _case_location(error, case) from None
        return PreparedTrial(
            planned=planned,
            request=request,
            cache_key=cache_key(request, feature=target.feature or "-", prompt_hash=prompt.hash, repeat=planned.repeat),
            prompt_hash=prompt.hash,
            promises_json=prompt.promises_json or case.promises_json,
            checks=self.checks_of(planned.suite, case),
            logs_content=feature is not None and feature.log_content == "redacted",
        )

    def checks_of(self, suite: Suite, case: Case) -> tuple[AssertionFunction, ...]:
        """Compile the assertions of a case."""
        return tuple([check for assertion in case.assertions for check in self._compile(suite, assertion)])

    def _compile(self, suite: Suite, assertion: Assertion) -> tuple[AssertionFunction, ...]:
        shared = self._shared.get(id(assertion))
        if shared is not None:
            return shared[1]
        compiled = compile_checks((assertion,), services=self._services_of(suite))
        if len(self._shared) < MAX_SHARED_CHECKS:  # those of `defaultTest` come first
            self._shared[id(assertion)] = (assertion, compiled)
        return compiled


class PreparedPlan:
    """The prepared trials of a plan, in its order; those of a large plan are prepared anew each time they are read.

    Building it prepares every trial once, so that mistakes are reported.
    """

    def __init__(self, plan: TrialPlan, preparer: TrialPreparer) -> None:
        self.plan = plan
        self._preparer = preparer
        self._held: list[PreparedTrial] | None = []
        digest = hashlib.sha256()
        for count, planned in enumerate(plan, start=1):
            prepared = preparer.prepare_trial(planned)
            identity = (planned.key, prepared.cache_key, planned.case)
            digest.update(msgspec.json.encode(identity, order="deterministic"))
            if count > MAX_HELD_TRIALS:
                self._held = None
            elif self._held is not None:
                self._held.append(prepared)
        self.digest = digest.hexdigest()
        """Hash of everything that determines the trials and how they are judged; equal ones are comparable."""

    def __len__(self) -> int:
        return len(self.plan)

    def waiting(self, is_done: Callable[[str], bool]) -> Iterator[PreparedTrial]:
        """Yield the trials that are not done, as found when each is reached; by their keys."""
        if self._held is not None:
            yield from (trial for trial in self._held if not is_done(trial.planned.key))
            return
        for planned in self.plan:
            if not is_done(planned.key):
                yield self._preparer.prepare_trial(planned)


def _alone(services: CheckServices) -> Callable[[Suite], CheckServices]:
    return lambda _: services


def _case_location(error: PromptError, case: Case) -> PromptError:
    """Add the case to an error about a prompt's values; the prompt's own line moves into the text."""
    file, _, line = case.place.rpartition(":")
    where = f" ({error.place})" if error.place else ""
    return PromptError(
        f"case `{case.id}`: {error.what}{where}", place=Place(file=file, line=int(line)), hint=error.hint
    )
