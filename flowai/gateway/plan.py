"""Plans one call before anything is paid or waited for: who serves it, what is asked, where its answer is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flowai.cache.cache_key import build_cache_query
from flowai.errors import UsageError
from flowai.gateway.routing.assignment import assign_arm, assign_variant, assignment_unit, is_flagged
from flowai.prompts import openai_messages
from flowai.providers import Request
from flowai.registry.bindings import OWN_PARAMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from flowai.cache.cache_key import CacheQuery
    from flowai.events import Variant
    from flowai.gateway.records import CompletionRequest
    from flowai.gateway.routing.assignment import AssignmentUnit
    from flowai.gateway.snapshot import ActiveRelease, ResolvedFeature, Snapshot
    from flowai.prompts import Prompt
    from flowai.providers import Endpoint
    from flowai.registry import Feature


MAX_TOKENS_KEYS = frozenset({"max_tokens", "max_completion_tokens"})


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureToggles:
    """What a gateway leaves out; smoke leaves out all that could hide a fault."""

    caches: bool = True
    """Whether answers are kept and given again."""
    falls_back: bool = True
    """Whether other models than the release's own may answer."""
    assigns: bool = True
    """Whether rollouts and experiments take part."""
    release: str | None = None
    """The release that serves whatever the registry says; None for the one it names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One call, planned."""

    ask: CompletionRequest
    """What the caller wants."""
    call_id: str
    """Identity of the call."""
    at: datetime
    """When it came, UTC."""
    served: ResolvedFeature
    """What the feature uses."""
    release: str | None
    """The release; None for a model on its own."""
    variant: Variant | None
    """Which side of a rollout; None outside rollouts."""
    experiment: str | None
    """The experiment it takes part in."""
    arm: str | None
    """Its arm."""
    is_sticky: bool
    """Whether the same caller is assigned alike next time."""
    request: Request
    """What is asked, of the first model."""
    lookup: CacheQuery | None
    """Where its answer is kept; None where it is not."""


def plan_call(
    ask: CompletionRequest,
    *,
    call_id: str,
    at: datetime,
    snapshot: Snapshot,
    serving: ActiveRelease,
    switches: FeatureToggles,
) -> Plan:
    """Plan a call.

    Args:
        ask: what the caller wants.
        call_id: identity of the call.
        at: when it came, UTC.
        snapshot: the files as they were read.
        serving: which releases serve.
        switches: what is left out.

    Raises:
        UsageError: unknown feature or model, arguments that contradict each other.
        PromptError: a variable is missing, unknown or wrong.
        MissingKeyError: none of its models has its key.
        RegistryError: none of its models has its weights.
    """
    _check(ask)
    unit = assignment_unit(user=ask.user, session=ask.session, call_id=call_id)
    release = variant = experiment = arm = None
    if ask.feature is None:
        served = snapshot.resolve_model(ask.model or "")
    else:
        feature = snapshot.registry.feature(ask.feature)
        release, variant = _assigned(ask, unit, feature, snapshot, serving, switches)
        if switches.assigns:
            experiment = snapshot.experiment_of(ask.feature)
        if experiment is not None:
            arm = assign_arm(experiment=experiment, arms=snapshot.registry.experiments[experiment].arms, unit=unit.name)
        served = snapshot.served(ask.feature, release, experiment=experiment, arm=arm)
    if not switches.falls_back:
        served = replace(served, rungs=served.rungs[:1])
    _check_reachable(served)
    request = _request(ask, served)
    return Plan(
        ask=ask,
        call_id=call_id,
        at=at,
        served=served,
        release=release,
        variant=variant,
        experiment=experiment,
        arm=arm,
        is_sticky=unit.is_sticky,
        request=request,
        lookup=_lookup(ask, served, request) if switches.caches else None,
    )


def _check(ask: CompletionRequest) -> None:
    if (ask.feature is None) == (ask.model is None):
        raise UsageError("a call names a feature or a model, one of the two")
    if ask.feature is None and ask.messages is None:
        raise UsageError(f"model `{ask.model}` has no prompt of its own", hint="give `messages`")
    if ask.messages is not None and ask.variables is not None:
        raise UsageError("a call gives the prompt's variables or messages of its own, not both")
    if ask.messages is None and ask.response_format is not None:
        raise UsageError("`response_format` goes with `messages`", hint="the prompt's own `output` says it otherwise")
    if ask.messages is not None:
        _check_messages(ask.messages)
    for name in ask.params:
        if name in OWN_PARAMS:
            raise UsageError(f"`{name}` is no sampling parameter", hint="the registry and the prompt say this")


def _check_messages(messages: Sequence[Any]) -> None:
    """Refuse what is no conversation: what it says is the provider's to judge, its shape is not."""
    if not messages:
        raise UsageError("`messages` is empty, expected one at least")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise UsageError(
                f"`messages[{number}]` is no chat message", hint='for example {"role": "user", "content": "..."}'
            )


def _assigned(
    ask: CompletionRequest,
    unit: AssignmentUnit,
    feature: Feature,
    snapshot: Snapshot,
    serving: ActiveRelease,
    switches: FeatureToggles,
) -> tuple[str, Variant | None]:
    """Give the release that serves a call, and the side of a rollout it is on."""
    if switches.release is not None:
        return switches.release, None
    registry = snapshot.registry
    if serving.candidate is None or registry.rollout is None or not switches.assigns:
        return serving.release, None
    variant = assign_variant(
        candidate=serving.candidate,
        stage=registry.rollout.stage,
        unit=unit.name,
        critical=feature.critical,
        critical_from=registry.policies.canary.critical_from,
        flagged=is_flagged(ask.headers, header=registry.flag.header, value=registry.flag.value),
    )
    return serving.candidate if variant in ("dogfood", "canary") else serving.release, variant


def _check_reachable(served: ResolvedFeature) -> None:
    """Say why no model can be asked, before anything else is done."""
    reasons = [rung.unavailable for rung in served.rungs]
    if reasons and reasons[0] is not None and all(reason is not None for reason in reasons):
        raise reasons[0]


def _request(ask: CompletionRequest, served: ResolvedFeature) -> Request:
    """Make the request; a caller may ask for fewer tokens than the feature allows, never for more."""
    feature = served.feature
    limit = feature.budget.completion_tokens
    params = {**served.params, **_with_caller_params(ask.params, limit)}
    endpoint = served.rungs[0].endpoint
    if ask.messages is None:
        if served.prompt is None:  # _check refuses a model on its own without messages
            raise AssertionError("a feature has a prompt")
        return build_request(served.prompt, ask.variables or {}, endpoint, params=params, feature=feature)
    if limit is not None and "max_completion_tokens" not in params:
        params.setdefault("max_tokens", limit)
    return Request(
        endpoint=endpoint,
        messages=ask.messages,
        params=params,
        response_format=None if ask.response_format is None else dict(ask.response_format),
        first_token_timeout_s=feature.timeout.first_token_s,
        total_timeout_s=feature.timeout.total_s,
    )


def _with_caller_params(params: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    """Give a caller's parameters, limits of the answer's length no higher than the feature's."""
    own = {name: value for name, value in params.items() if value is not None}
    for name in MAX_TOKENS_KEYS & own.keys():
        asked = own[name]
        if not isinstance(asked, int) or isinstance(asked, bool) or asked < 1:
            raise UsageError(f"found `{name}: {asked!r}`, expected a whole number from 1 up")
        own[name] = asked if limit is None else min(asked, limit)
    return own


def _lookup(ask: CompletionRequest, served: ResolvedFeature, request: Request) -> CacheQuery | None:
    """Say where an answer is kept; an answer that the model would vary is kept only where the feature says so."""
    policy = served.feature.cache
    if served.name is None or policy.kind == "none" or not ask.use_cache:
        return None
    if not policy.any_temperature and _is_nondeterministic(request.params):
        return None
    prompt_hash = served.prompt.hash if ask.messages is None and served.prompt is not None else ""
    return build_cache_query(
        request,
        feature=served.name,
        prompt_hash=prompt_hash,
        tenant=ask.tenant or "",
        policy=policy,
        variables=None if ask.messages is not None else ask.variables or {},
    )


def _is_nondeterministic(params: Mapping[str, Any]) -> bool:
    """Tell whether a model may answer differently next time; without a temperature, providers take one above 0."""
    temperature = params.get("temperature")
    return not isinstance(temperature, int | float) or temperature > 0


def build_request(
    prompt: Prompt,
    values: Mapping[str, Any],
    endpoint: Endpoint,
    *,
    params: Mapping[str, Any],
    feature: Feature | None,
) -> Request:
    """Render a prompt and make the request of it.

    Args:
        prompt: the prompt.
        values: its variables; others are an error.
        endpoint: whom to ask.
        params: what the release says about sampling; it wins over the prompt's own `config`.
        feature: its budget gives `max_tokens` where neither says it, its timeout limits the call; None for neither.

    Raises:
        PromptError: a variable is missing, unknown, of the wrong type, or refused by the prompt's policy.
    """
    rendered = prompt.render(values)
    merged = {**prompt.config, **params}
    limits: dict[str, Any] = {}
    if feature is not None:
        if feature.budget.completion_tokens is not None:
            merged.setdefault("max_tokens", feature.budget.completion_tokens)
        limits = {
            "first_token_timeout_s": feature.timeout.first_token_s,
            "total_timeout_s": feature.timeout.total_s,
        }
    return Request(
        endpoint=endpoint,
        messages=tuple(openai_messages(rendered.messages)),
        params=merged,
        response_schema=prompt.output_schema,
        **limits,
    )
