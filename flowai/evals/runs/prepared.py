"""Prepares trials: renders the prompt, compiles the checks. Mistakes are reported before any call is paid for."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from flowai.cache.exact import cache_key
from flowai.errors import Place, PromptError
from flowai.evals.assertions import CheckServices, compile_checks
from flowai.evals.assertions.comparison import compile_comparisons
from flowai.evals.execution.endpoints import endpoint_as_written
from flowai.evals.execution.transforms import transforms_of
from flowai.evals.runs.own_prompts import OwnPrompts, has_state, is_late
from flowai.evals.runs.records import PreparedTrial, has_comparison
from flowai.evals.targets.records import TargetRequest
from flowai.evals.targets.system_prompt import with_system_prompt
from flowai.gateway.plan import build_request
from flowai.providers import Endpoint
from flowai.registry import sent_params

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from flowai.evals.assertions import AssertionFunction
    from flowai.evals.execution.services import RunServices
    from flowai.evals.prompt_sources import RenderedSuitePrompt
    from flowai.evals.reports import Failure
    from flowai.evals.runs.plan import PlannedTrial, RunPlan
    from flowai.evals.suites.records import Assertion, Case, Suite
    from flowai.providers import Completion, Request
    from flowai.workspace.workspace import Workspace

MAX_HELD_TRIALS = 5_000
"""Trials of a larger plan are prepared anew each time they are needed."""
MAX_SHARED_CHECKS = 10_000
"""Compiled assertions that are kept for other cases with the same assertion."""


class TrialPreparer:
    """Prepares trials; each prompt, endpoint and shared assertion is prepared once.

    Args:
        workspace: prompts, models and features.
        services: what checks and prompts may call; None if nothing may be called.
    """

    def __init__(self, workspace: Workspace, services: RunServices | None = None) -> None:
        self._workspace = workspace
        self._services = services
        self._check_services = CheckServices()
        self._own_prompts = OwnPrompts(services)
        self._shared: dict[int, tuple[Assertion, tuple[AssertionFunction, ...]]] = {}
        """By identity; the assertion is held so that its identity stays its own."""
        self._stateful: dict[str, bool] = {}

    def prepare(self, planned: Iterable[PlannedTrial]) -> list[PreparedTrial]:
        """Prepare all trials at once."""
        return [self.prepare_trial(trial) for trial in planned]

    def prepare_trial(self, planned: PlannedTrial) -> PreparedTrial:
        """Render the prompt and compile the assertions of one trial.

        Raises:
            PromptError: the case's variables do not fit the prompt.
            SuiteError: an assertion has a wrong value or threshold.
        """
        target = planned.target
        suite, case = planned.suite, planned.case
        has_own_prompt = target.source is not None and target.source.kind != "library"
        stateful = self._is_stateful(suite)
        late = is_late(planned, is_stateful=stateful)
        is_serial = stateful or case.options.is_serial
        if late:
            prepared = self._unrendered(planned)
        elif has_own_prompt:
            prepared = self._with_prompt(planned, self._own_prompts.render(planned), case.vars)
        else:
            prepared = self._with_library_prompt(planned, case.vars)
        return replace(
            prepared,
            checks=self._checks_of(suite, case),
            transforms=transforms_of(target.provider, case),
            is_late=late,
            is_serial=is_serial,
        )

    def prepare_recorded(
        self, planned: PlannedTrial, answer: Completion | Failure, *, transforms: bool
    ) -> PreparedTrial:
        """Compile the assertions for an answer that is known already; nothing is rendered."""
        target, case = planned.target, planned.case
        endpoint = Endpoint(name=target.model, model=target.model, provider="recorded")
        return PreparedTrial(
            planned=planned,
            request=TargetRequest(endpoint=endpoint, messages=(), metadata=case.metadata),
            cache_key=None,
            prompt_hash="",
            promises_json=case.promises_json,
            checks=self._checks_of(planned.suite, case),
            variables=case.vars,
            transforms=transforms_of(None, case) if transforms else (),
            recorded=answer,
        )

    async def prepare_late(self, prepared: PreparedTrial, variables: Mapping[str, Any]) -> PreparedTrial:
        """Build the request of a trial that was prepared without it.

        Args:
            prepared: the trial.
            variables: the case's, and those that earlier cases and hooks set.

        Raises:
            CodeError: code gave no prompt or no variables.
            PromptError: the variables do not fit the prompt.
            SuiteError: no code may run, or an assertion has a wrong value.
        """
        planned = prepared.planned
        values = await self._own_prompts.variables(planned, variables)
        source = planned.target.source
        if source is None or source.kind == "library":
            ready = self._with_library_prompt(planned, values)
        else:
            ready = self._with_prompt(planned, await self._own_prompts.render_late(planned, values), values)
        checks = prepared.checks
        if any(assertion.is_template for assertion in planned.case.assertions):
            services = self._services_of(planned.suite)
            assertions = self._own_prompts.fill_assertions(planned, values)
            checks = compile_checks(assertions, services=services)
        return replace(ready, checks=checks, transforms=prepared.transforms, is_late=True, is_serial=prepared.is_serial)

    def _with_library_prompt(self, planned: PlannedTrial, variables: Mapping[str, Any]) -> PreparedTrial:
        workspace, target, case = self._workspace, planned.target, planned.case
        prompt = workspace.library.load(target.prompt)
        feature = workspace.registry.feature(target.feature) if target.feature else None
        params = dict(target.params)
        if target.source is not None or case.options.config:
            params |= self._own_prompts.params(planned, {})
        try:
            request = build_request(
                prompt, prompt.select(variables), self._endpoint(planned), params=params, feature=feature
            )
        except PromptError as error:
            raise _case_location(error, case) from None
        if target.provider is not None:
            request = self._own_prompts.target_request(planned, request, variables)
        return PreparedTrial(
            planned=planned,
            request=request,
            cache_key=self._cache_key(planned, request, prompt.hash),
            prompt_hash=prompt.hash,
            promises_json=prompt.promises_json or case.promises_json,
            checks=(),
            logs_content=feature is not None and feature.log_content == "redacted",
            variables=dict(variables),
        )

    def _with_prompt(
        self, planned: PlannedTrial, rendered: RenderedSuitePrompt, variables: Mapping[str, Any]
    ) -> PreparedTrial:
        unrendered = self._unrendered(planned)
        request = msgspec.structs.replace(
            unrendered.request,
            messages=rendered.messages,
            params=sent_params(planned.target.params, self._own_prompts.params(planned, rendered.config)),
            prompt=rendered.text,
            variables=dict(variables),
        )
        provider = planned.target.provider
        if provider is not None and provider.kind == "model" and isinstance(request, TargetRequest):
            request = with_system_prompt(request, provider)
        return replace(
            unrendered,
            request=request,
            cache_key=self._cache_key(planned, request, unrendered.prompt_hash),
            promises_json=rendered.promises_json or planned.case.promises_json,
            variables=dict(variables),
            prompt_text=rendered.text,
        )

    def _unrendered(self, planned: PlannedTrial) -> PreparedTrial:
        """Return a trial without its messages."""
        target, case = planned.target, planned.case
        workspace = self._workspace
        feature = workspace.registry.feature(target.feature) if target.feature else None
        limits: dict[str, Any] = {}
        if feature is not None:
            limits = {
                "first_token_timeout_s": feature.timeout.first_token_s,
                "total_timeout_s": feature.timeout.total_s,
            }
        request = TargetRequest(
            endpoint=self._endpoint(planned),
            messages=(),
            provider=target.provider,
            metadata=case.metadata,
            folder=planned.suite.folder,
            env=planned.suite.env,
            **limits,
        )
        return PreparedTrial(
            planned=planned,
            request=request,
            cache_key=None,
            prompt_hash=self._own_prompts.hash(planned, workspace.library),
            promises_json=case.promises_json,
            checks=(),
            logs_content=feature is not None and feature.log_content == "redacted",
        )

    def _endpoint(self, planned: PlannedTrial) -> Endpoint:
        target = planned.target
        if target.provider is not None:
            return endpoint_as_written(self._workspace, target.provider)
        return self._workspace.endpoint(target.model)

    def _cache_key(self, planned: PlannedTrial, request: Request, prompt_hash: str) -> str | None:
        """Return the key in the cache; None for programs, whose answers may depend on anything."""
        target = planned.target
        if planned.case.recorded_output is not None or (
            target.provider is not None and target.provider.kind != "model"
        ):
            return None
        return cache_key(request, feature=target.feature or "-", prompt_hash=prompt_hash, repeat=planned.repeat)

    def _is_stateful(self, suite: Suite) -> bool:
        if suite.path not in self._stateful:
            self._stateful[suite.path] = has_state(suite)
        return self._stateful[suite.path]

    def _checks_of(self, suite: Suite, case: Case) -> tuple[AssertionFunction, ...]:
        if has_comparison(case):
            compile_comparisons(case, self._services_of(suite))  # mistakes are reported now; applied after all trials
        if self._services is not None:
            self._services.check_graders(suite, case)
        if any(assertion.is_template for assertion in case.assertions):
            return ()
        return tuple([check for assertion in case.assertions for check in self._compile(suite, assertion)])

    def _compile(self, suite: Suite, assertion: Assertion) -> tuple[AssertionFunction, ...]:
        shared = self._shared.get(id(assertion))
        if shared is not None:
            return shared[1]
        compiled = compile_checks((assertion,), services=self._services_of(suite))
        if len(self._shared) < MAX_SHARED_CHECKS:  # those of `defaultTest` come first
            self._shared[id(assertion)] = (assertion, compiled)
        return compiled

    def _services_of(self, suite: Suite) -> CheckServices:
        return self._check_services if self._services is None else self._services.checks_of(suite)


class Preparer(Protocol):
    """Prepares the trials of a plan."""

    def prepare_trial(self, planned: PlannedTrial) -> PreparedTrial:
        """Prepare one trial."""
        ...


class PreparedPlan:
    """The prepared trials of a plan, in its order; those of a large plan are prepared anew each time they are read.

    Building it prepares every trial once, so that mistakes are reported.
    """

    def __init__(self, plan: RunPlan, preparer: Preparer) -> None:
        self.plan = plan
        self._preparer = preparer
        self._held: list[PreparedTrial] | None = []
        self.has_comparisons = False
        """Whether the answers of a case are compared with each other."""
        self.has_serial = False
        """Whether some trials may not run at the same time as others."""
        digest = 0
        for count, planned in enumerate(plan, start=1):
            prepared = preparer.prepare_trial(planned)
            self.has_serial |= prepared.is_serial
            self.has_comparisons |= has_comparison(planned.case)
            identity = (planned.key, prepared.cache_key or _late_identity(prepared), planned.case)
            encoded = msgspec.json.encode(identity, order="deterministic")
            digest += int.from_bytes(hashlib.sha256(encoded).digest())  # a sum: the gate may change the order
            if count > MAX_HELD_TRIALS:
                self._held = None
            elif self._held is not None:
                self._held.append(prepared)
        self.digest = f"{digest % 2**256:064x}"
        """Hash of everything that determines the trials and how they are judged, in any order."""

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


def _late_identity(prepared: PreparedTrial) -> tuple[Any, ...]:
    target, request = prepared.planned.target, prepared.request
    return (prepared.prompt_hash, target.provider, target.params, request.messages, request.params, prepared.recorded)


def _case_location(error: PromptError, case: Case) -> PromptError:
    """Add the case to an error about a prompt's values; the prompt's own line moves into the text."""
    file, _, line = case.place.rpartition(":")
    where = f" ({error.place})" if error.place else ""
    return PromptError(
        f"case `{case.id}`: {error.what}{where}",
        place=Place(file=file, line=int(line) if line.isdecimal() else None),
        hint=error.hint,
    )
