"""Plans a call before any cost or wait: release, variant, arm, request and cache key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flowai.cache.cache_key import build_cache_query
from flowai.errors import InvalidMessagesError, PromptError, UsageError
from flowai.gateway.routing.assignment import assign_arm, assign_variant, assignment_unit, is_flagged
from flowai.prompts import openai_messages
from flowai.providers import Request
from flowai.providers.openai.chat_messages import check_messages
from flowai.registry.bindings import OWN_PARAMS, sent_params

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
    """Parts of the gateway that can be switched off; smoke toggles off all that could hide a fault."""

    caches: bool = True
    fallback: bool = True
    """Other models than the release's own may answer."""
    warms_fallbacks: bool = True
    """`warm_up` loads the local models of whole fallback chains, not only the first."""
    assignment: bool = True
    """Rollouts and experiments take part."""
    release: str | None = None
    """The release that serves, whatever the registry says; None for the registry's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A planned call."""

    completion_request: CompletionRequest
    call_id: str
    at: datetime
    """Time of the request, UTC."""
    resolved: ResolvedFeature
    release: str | None
    variant: Variant | None
    experiment: str | None
    arm: str | None
    is_sticky: bool
    """The same caller is assigned alike next time."""
    model_request: Request
    """The request to the first candidate."""
    cache_query: CacheQuery | None


def plan_call(
    request: CompletionRequest,
    *,
    call_id: str,
    at: datetime,
    snapshot: Snapshot,
    active: ActiveRelease,
    toggles: FeatureToggles,
) -> Plan:
    """Plan a call.

    Raises UsageError for an unknown feature or model or contradictory arguments, PromptError for wrong variables,
    MissingKeyError if no candidate has its key, RegistryError if none has its weights.
    """
    _validate_request(request)
    unit = assignment_unit(user=request.user, session=request.session, call_id=call_id)
    release = variant = experiment = arm = None
    if request.feature is None:
        resolved = snapshot.resolve_model(request.model or "")
    else:
        feature = snapshot.registry.feature(request.feature)
        release, variant = _assign_release(request, unit, feature, snapshot, active, toggles)
        if toggles.assignment:
            experiment = snapshot.experiment_of(request.feature)
        if experiment is not None:
            arm = assign_arm(experiment=experiment, arms=snapshot.registry.experiments[experiment].arms, unit=unit.name)
        resolved = snapshot.resolve_feature(request.feature, release, experiment=experiment, arm=arm)
        if request.juror is not None:
            resolved = snapshot.resolve_juror(resolved, request.juror)
    if not toggles.fallback:
        resolved = replace(resolved, candidates=resolved.candidates[:1])
    _check_reachable(resolved)
    model_request = _model_request(request, resolved)
    return Plan(
        completion_request=request,
        call_id=call_id,
        at=at,
        resolved=resolved,
        release=release,
        variant=variant,
        experiment=experiment,
        arm=arm,
        is_sticky=unit.is_sticky,
        model_request=model_request,
        cache_query=_cache_query(request, resolved, model_request) if toggles.caches else None,
    )


def _validate_request(request: CompletionRequest) -> None:
    if (request.feature is None) == (request.model is None):
        raise UsageError("a call names either a feature or a model")
    if request.feature is None and request.messages is None:
        raise UsageError(f"model `{request.model}` has no prompt", hint="pass `messages`")
    if request.messages is not None and request.variables is not None:
        raise UsageError("a call has either `variables` or `messages`, not both")
    if request.messages is None and request.response_format is not None:
        raise UsageError("`response_format` requires `messages`", hint="a prompt sets its format by `output`")
    if request.messages is not None:
        _validate_messages(request.messages)
    for name in request.params:
        if name in OWN_PARAMS:
            raise UsageError(f"`{name}` is not a sampling parameter", hint="the registry and the prompt set it")


def _validate_messages(messages: Sequence[Any]) -> None:
    """Check that the messages can be sent to a model; what a provider refuses beyond that is its own."""
    if not messages:
        raise UsageError("`messages` is empty, expected at least one message")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise UsageError(
                f"`messages[{number}]` is not a chat message", hint='for example {"role": "user", "content": "..."}'
            )
    check_messages(messages)


def _assign_release(
    request: CompletionRequest,
    unit: AssignmentUnit,
    feature: Feature,
    snapshot: Snapshot,
    active: ActiveRelease,
    toggles: FeatureToggles,
) -> tuple[str, Variant | None]:
    """Return the release that serves a call, and the rollout's variant."""
    if toggles.release is not None:
        return toggles.release, None
    registry = snapshot.registry
    if active.candidate is None or registry.rollout is None or not toggles.assignment:
        return active.release, None
    variant = assign_variant(
        candidate=active.candidate,
        stage=registry.rollout.stage,
        unit=unit.name,
        critical=feature.critical,
        critical_from=registry.policies.canary.critical_from,
        flagged=is_flagged(request.headers, header=registry.flag.header, value=registry.flag.value),
    )
    return active.candidate if variant in ("dogfood", "canary") else active.release, variant


def _check_reachable(resolved: ResolvedFeature) -> None:
    """Raise the first candidate's error if no candidate can be called."""
    reasons = [candidate.unavailable for candidate in resolved.candidates]
    if reasons and reasons[0] is not None and all(reason is not None for reason in reasons):
        raise reasons[0]


def _model_request(request: CompletionRequest, resolved: ResolvedFeature) -> Request:
    """Build the request; a caller may lower the feature's token limit, never raise it."""
    feature = resolved.feature
    limit = feature.budget.completion_tokens
    params = {**resolved.params, **_with_caller_params(request.params, limit)}
    endpoint = resolved.candidates[0].endpoint
    if request.messages is None:
        if resolved.prompt is None:  # `_validate_request` requires messages without a feature
            raise AssertionError("a feature has a prompt")
        return build_request(resolved.prompt, request.variables or {}, endpoint, params=params, feature=feature)
    params = sent_params(params)
    if limit is not None and "max_completion_tokens" not in params:
        params.setdefault("max_tokens", limit)
    return Request(
        endpoint=endpoint,
        messages=request.messages,
        params=params,
        response_format=None if request.response_format is None else dict(request.response_format),
        first_token_timeout_s=feature.timeout.first_token_s,
        total_timeout_s=feature.timeout.total_s,
    )


def _with_caller_params(params: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    """Return the caller's parameters, token limits capped by the feature's."""
    own = {name: value for name, value in params.items() if value is not None}
    for name in MAX_TOKENS_KEYS & own.keys():
        value = own[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"found `{name}: {value!r}`, expected an integer >= 1")
        own[name] = value if limit is None else min(value, limit)
    return own


def _cache_query(request: CompletionRequest, resolved: ResolvedFeature, model_request: Request) -> CacheQuery | None:
    """Build the caches' query; an answer with a random part is cached only if the feature allows it."""
    policy = resolved.feature.cache
    if resolved.name is None or policy.kind == "none" or not request.use_cache:
        return None
    if not policy.any_temperature and _is_nondeterministic(model_request.params):
        return None
    prompt_hash = resolved.prompt.hash if request.messages is None and resolved.prompt is not None else ""
    return build_cache_query(
        model_request,
        feature=resolved.name,
        prompt_hash=prompt_hash,
        tenant=request.tenant or "",
        policy=policy,
        variables=None if request.messages is not None else request.variables or {},
    )


def _is_nondeterministic(params: Mapping[str, Any]) -> bool:
    """Return whether the model may answer differently next time; providers' default temperature is above 0."""
    temperature = params.get("temperature")
    return not isinstance(temperature, int | float) or temperature > 0


def build_request(
    prompt: Prompt, values: Mapping[str, Any], endpoint: Endpoint, *, params: Mapping[str, Any], feature: Feature | None
) -> Request:
    """Render a prompt and build its request; unknown `values` are an error.

    The release's `params` win over the prompt's `config`. The feature's budget gives `max_tokens` where neither sets
    it, its timeout limits the call. Raises PromptError for wrong variables, or those that the prompt's policy refuses.
    """
    rendered = prompt.render(values)
    merged = sent_params(prompt.config, params)
    limits: dict[str, Any] = {}
    if feature is not None:
        if feature.budget.completion_tokens is not None:
            merged.setdefault("max_tokens", feature.budget.completion_tokens)
        limits = {"first_token_timeout_s": feature.timeout.first_token_s, "total_timeout_s": feature.timeout.total_s}
    messages = tuple(openai_messages(rendered.messages))
    try:
        check_messages(messages)
    except InvalidMessagesError as error:  # the address of an image
        raise PromptError(f"the rendered prompt cannot be sent: {error.what}") from None
    return Request(
        endpoint=endpoint,
        messages=messages,
        params=merged,
        response_schema=prompt.output_schema,
        **limits,
    )
