"""Renders the prompts that suites bring along, now or just before the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.prompt_sources import (
    prompt_hash,
    render_prompt,
    render_prompt_now,
    resolve_variables,
    resolve_variables_now,
)
from flowai.evals.provider_names.settings import model_settings
from flowai.evals.targets.records import TargetRequest
from flowai.evals.templates import protect_partial, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.execution.services import RunServices
    from flowai.evals.prompt_sources import RenderedSuitePrompt
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.evals.suites.records import Assertion, Suite, SuitePrompt
    from flowai.prompts import PromptLibrary
    from flowai.providers import Request

CONVERSATION = "_conversation"
"""Variable with the earlier turns on the same target."""


def has_state(suite: Suite) -> bool:
    """Return whether a case may use the answers of earlier cases, so that cases must run in their order."""
    if any(CONVERSATION in prompt.template for prompt in suite.prompt_sources):
        return True
    return any(case.options.store_output_as is not None for case in suite.cases)


def is_late(planned: PlannedTrial, *, is_stateful: bool) -> bool:
    """Return whether the request can only be built just before the call."""
    case, source = planned.case, planned.target.source
    return bool(
        is_stateful
        or planned.suite.extensions
        or case.dynamic_vars
        or case.options.transform_vars is not None
        or (source is not None and source.kind == "function")
        or any(assertion.is_template for assertion in case.assertions)
    )


class OwnPrompts:
    """Renders prompts of suites with the services of a run."""

    def __init__(self, services: RunServices | None) -> None:
        self._services = services
        self._hashes: dict[tuple[str, str], str] = {}

    def hash(self, planned: PlannedTrial, library: PromptLibrary) -> str:
        """Return the hash of a prompt."""
        source = planned.target.source
        if source is None or source.kind == "library":
            return library.load(planned.target.prompt).hash
        key = (planned.suite.path, source.id)
        if key not in self._hashes:
            self._hashes[key] = prompt_hash(source)
        return self._hashes[key]

    def render(self, planned: PlannedTrial) -> RenderedSuitePrompt:
        """Render a prompt that needs no code, with the case's variables."""
        suite, case = planned.suite, planned.case
        variables = resolve_variables_now(case.vars, renders=suite.renders_variables)
        return render_prompt_now(
            _source_of(planned),
            variables,
            env=self._env(suite),
            prefix=case.options.prefix,
            suffix=case.options.suffix,
            renders=suite.renders_variables,
        )

    async def variables(self, planned: PlannedTrial, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the variables of a case, after its code changed them."""
        suite, case = planned.suite, planned.case
        source = planned.target.source
        code = None if self._services is None else self._services.own_runner(suite)
        values = dict(variables)
        if case.options.transform_vars is not None and code is not None:
            from flowai.evals.code.transforms import transform_variables  # not needed without transforms

            context = {"prompt": {"label": planned.target.prompt}, "metadata": case.metadata}
            values |= await transform_variables(code, case.options.transform_vars, values, context)
        return await resolve_variables(
            case, values, prompt=source, code=code, renders=suite.renders_variables and source is not None
        )

    async def render_late(self, planned: PlannedTrial, variables: Mapping[str, Any]) -> RenderedSuitePrompt:
        """Render any prompt of a suite with resolved variables."""
        suite, case = planned.suite, planned.case
        return await render_prompt(
            _source_of(planned),
            variables,
            provider=planned.target.provider,
            env=self._env(suite),
            code=None if self._services is None else self._services.own_runner(suite),
            prefix=case.options.prefix,
            suffix=case.options.suffix,
            renders=suite.renders_variables,
        )

    def params(self, planned: PlannedTrial, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a prompt and a case by LiteLLM's names; those of the case win."""
        source = planned.target.source
        own = {**({} if source is None else source.config), **config, **planned.case.options.config}
        if not own:
            return {}
        return dict(model_settings("", own, self._env(planned.suite)).params)

    def target_request(self, planned: PlannedTrial, request: Request, variables: Mapping[str, Any]) -> TargetRequest:
        """Return the request to a target of the suite, for a prompt of the library."""
        fields = {name: getattr(request, name) for name in request.__struct_fields__}
        messages = request.messages
        is_text = len(messages) == 1 and isinstance(messages[0].get("content"), str)
        text = messages[0]["content"] if is_text else msgspec.json.encode(messages).decode()
        return TargetRequest(
            **fields,
            provider=planned.target.provider,
            variables=dict(variables),
            prompt=text,
            metadata=planned.case.metadata,
        )

    def fill_assertions(self, planned: PlannedTrial, variables: Mapping[str, Any]) -> tuple[Assertion, ...]:
        """Return the assertions of a case with values that are only known now."""
        env = self._env(planned.suite)
        return tuple(_filled(assertion, variables, env) for assertion in planned.case.assertions)

    def _env(self, suite: Suite) -> Mapping[str, str]:
        return suite.env if self._services is None else self._services.environment_of(suite)


def _source_of(planned: PlannedTrial) -> SuitePrompt:
    source = planned.target.source
    if source is None:
        raise TypeError(f"`{planned.target.prompt}` is a prompt of the library")
    return source


def _filled(assertion: Assertion, variables: Mapping[str, Any], env: Mapping[str, str]) -> Assertion:
    if not assertion.is_template:
        return assertion
    code = assertion.code
    if code is not None and code.source is not None:
        code = msgspec.structs.replace(code, source=render(protect_partial(code.source), variables, env=env))
    return msgspec.structs.replace(
        assertion,
        value=_filled_value(assertion.value, variables, env),
        metric=_filled_value(assertion.metric, variables, env),
        code=code,
        children=tuple(_filled(child, variables, env) for child in assertion.children),
        is_template=False,
    )


def _filled_value(value: Any, variables: Mapping[str, Any], env: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return render(protect_partial(value), variables, env=env)
    if isinstance(value, dict):
        return {key: _filled_value(part, variables, env) for key, part in value.items()}
    return [_filled_value(part, variables, env) for part in value] if isinstance(value, list) else value
