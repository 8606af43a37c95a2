"""Answers logged requests with both models and checks them by the assertions that every case of the suites has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.execution.transforms import recorded_completion
from flowai.evals.runs.plan import PlannedTrial
from flowai.evals.suites.assertion_types import COMPARISON_TYPES
from flowai.evals.suites.records import Case, Suite
from flowai.evals.targets.records import TargetRequest
from flowai.registry import sent_params

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flowai.evals.runs.prepared import TrialPreparer
    from flowai.evals.runs.records import PreparedTrial
    from flowai.evals.suites.records import Assertion
    from flowai.upgrades.log.sample import LoggedRequest
    from flowai.upgrades.suite_runs import FeaturePair
    from flowai.workspace.workspace import Workspace

LOG_PATH = "event log"
"""Path of the suite that logged requests are."""
_TIMED_TYPES = frozenset({"latency", "cost"})
"""A logged answer has neither."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedTask:
    """Logged requests of a feature, planned on both models."""

    plan: tuple[PlannedTrial, ...]
    requests: Mapping[str, LoggedRequest]
    """By call id."""
    has_checks: bool
    """Whether every case of the suites has assertions that apply to any answer."""


def plan_logged(
    workspace: Workspace, pair: FeaturePair, requests: Sequence[LoggedRequest], suites: Iterable[Suite]
) -> LoggedTask:
    """Plan logged requests as cases of one suite, in turn the one and the other model first."""
    suites = tuple(suites)
    assertions = common_assertions(suites)
    cases = tuple(
        Case(
            id=request.call_id,
            vars={},
            assertions=assertions,
            place=LOG_PATH,
            metadata={"release": request.release, "variant": request.variant},
        )
        for request in requests
    )
    suite = Suite(
        path=LOG_PATH,
        cases=cases,
        feature=pair.feature,
        folder=str(workspace.project.root),
        grader=next((item.grader for item in suites if item.grader is not None), None),
    )
    plan: list[PlannedTrial] = []
    for number, case in enumerate(cases):
        twins = [
            PlannedTrial(suite=suite, case=case, target=pair.target(bound), repeat=0) for bound in (pair.old, pair.new)
        ]
        plan += twins if number % 2 else twins[::-1]
    return LoggedTask(plan=tuple(plan), requests={item.call_id: item for item in requests}, has_checks=bool(assertions))


def common_assertions(suites: Sequence[Suite]) -> tuple[Assertion, ...]:
    """Return the assertions that every case of every suite has and that need no variable of a case."""
    shared: dict[bytes, Assertion] | None = None
    for suite in suites:
        for case in suite.cases:
            own = {_identity(item): item for item in case.assertions if _is_general(item)}
            shared = own if shared is None else {key: item for key, item in shared.items() if key in own}
            if not shared:
                return ()
    return tuple((shared or {}).values())


class LoggedPreparer:
    """Prepares trials of logged requests: messages as logged, parameters of the model's release.

    Args:
        workspace: the project, with the new release.
        pair: the feature with the bindings of both models.
        task: the planned requests.
        preparer: compiles assertions.
    """

    def __init__(self, workspace: Workspace, pair: FeaturePair, task: LoggedTask, preparer: TrialPreparer) -> None:
        self._workspace = workspace
        self._pair = pair
        self._task = task
        self._preparer = preparer
        self._feature = workspace.registry.feature(pair.feature)
        self._prompt = workspace.library.load(pair.old.prompt)

    def prepare_trial(self, planned: PlannedTrial) -> PreparedTrial:
        """Prepare one trial; the old model's own logged answer is used instead of a call."""
        request = self._task.requests[planned.case.id]
        endpoint = self._workspace.endpoint(planned.target.model)
        answer = recorded_completion(request.old_output or "", model=endpoint.model, provider=endpoint.provider)
        prepared = self._preparer.prepare_recorded(planned, answer, transforms=False)
        prepared = replace(
            prepared,
            prompt_hash=self._prompt.hash,
            request=TargetRequest(
                endpoint=endpoint,
                messages=request.messages,
                params=self._params(planned),
                response_schema=self._prompt.output_schema,
                first_token_timeout_s=self._feature.timeout.first_token_s,
                total_timeout_s=self._feature.timeout.total_s,
                metadata=planned.case.metadata,
            ),
        )
        is_logged = planned.target.model == self._pair.old.model and request.old_output is not None
        return prepared if is_logged else replace(prepared, recorded=None)

    def _params(self, planned: PlannedTrial) -> dict[str, Any]:
        params = sent_params(self._prompt.config, planned.target.params)
        limit = self._feature.budget.completion_tokens
        if limit is not None and "max_completion_tokens" not in params:
            params.setdefault("max_tokens", limit)
        return params


def _is_general(assertion: Assertion) -> bool:
    return not assertion.is_template and assertion.type not in COMPARISON_TYPES | _TIMED_TYPES


def _identity(assertion: Assertion) -> bytes:
    """Return what makes two assertions the same: all but their place."""
    return msgspec.json.encode(msgspec.structs.replace(assertion, place=""), enc_hook=str)
