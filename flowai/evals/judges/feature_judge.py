"""The registry's judge: a feature that is called through the gateway, with its budget, cache, events and jury."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowai.evals.assertions.services import JudgeFeature
from flowai.evals.judges.default_grader import JUDGE_FEATURE
from flowai.evals.judges.schema_refusal import SchemaRefusals
from flowai.gateway.gateway import Gateway
from flowai.gateway.plan import FeatureToggles, build_request
from flowai.providers import Completion, Request
from flowai.registry import binding, features_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from flowai.evals.assertions.services import JudgeRequest
    from flowai.gateway.records import CompletionResult
    from flowai.providers import Chunk, Client, Embeddings, EmbedRequest, Endpoint
    from flowai.workspace.workspace import Workspace

RUBRIC_VARIABLES = frozenset({"rubric", "output"})
"""Variables that a prompt needs to take the place of the package's rubric prompts."""


def judge_feature(workspace: Workspace, name: str = JUDGE_FEATURE) -> JudgeFeature | None:
    """Return the judge that the release binds; None if it binds no such feature.

    Raises:
        PromptError: its prompt is wrong.
    """
    registry, release = workspace.registry, workspace.release
    if not release or name not in features_of(registry, release):
        return None
    bound, jury = binding(registry, release, name), registry.feature(name).jury
    prompt = workspace.library.load(bound.prompt)
    return JudgeFeature(
        name=name,
        prompt=prompt,
        judges_rubrics=set(prompt.variables) >= RUBRIC_VARIABLES,
        model=bound.model,
        params={**prompt.config, **bound.params},
        jury=() if jury is None else jury.models,
        combine=None if jury is None else jury.combine,
    )


class FeatureJudge:
    """Calls the judge of a project; close it in the event loop that used it.

    No fallback answers for it: the verdicts of another model would have another error than the measured one.

    Args:
        workspace: the project.
        feature: the judge.
        client: calls models; it is not closed here.
        replays: whether answers are recorded ones: they need no keys, cost nothing and are not logged.
        uses_cache: whether a verdict on the same answer may come from the feature's cache.
    """

    def __init__(
        self,
        workspace: Workspace,
        feature: JudgeFeature,
        client: Callable[[], Client],
        *,
        replays: bool = False,
        uses_cache: Callable[[], bool] = lambda: True,
    ) -> None:
        self.feature = feature
        self._workspace = workspace
        self._client = client
        self._replays = replays
        self._uses_cache = uses_cache
        self._gateway: Gateway | None = None
        self._refusals = SchemaRefusals()

    async def ask(self, request: JudgeRequest) -> Completion:
        """Return the reply of the judge, or of one of its jurors.

        Raises:
            CallError: it failed.
            BudgetError: its budget is spent.
            PromptError: the answer lacks a variable of its prompt.
        """
        return await (self._replay(request) if self._replays else self._call(request))

    async def aclose(self) -> None:
        """Close the gateway; may be called twice."""
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            await gateway.aclose()

    async def _call(self, request: JudgeRequest) -> Completion:
        gateway = self._opened()
        options: dict[str, Any] = {"juror": request.juror, "use_cache": self._uses_cache()}
        if request.messages is None:
            values = self.feature.prompt.select(request.values)
            return _completion(await gateway.complete(self.feature.name, values, **options))
        params = {**request.params, **self._own_params(request.params)}
        return _completion(
            await gateway.complete(
                self.feature.name,
                messages=request.messages,
                params=params,
                response_format=_response_format(request.schema),
                **options,
            )
        )

    def _own_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the release's parameters that the prompt of a graded assertion sets too: the release's win."""
        bound = binding(self._workspace.registry, self._workspace.release, self.feature.name)
        return {name: bound.params[name] for name in params if name in bound.params}

    async def _replay(self, request: JudgeRequest) -> Completion:
        workspace, feature = self._workspace, self.feature
        endpoint = workspace.endpoint(request.juror or feature.model)
        bound = binding(workspace.registry, workspace.release, feature.name)
        entry = workspace.registry.feature(feature.name)
        if request.messages is None:
            values = feature.prompt.select(request.values)
            sent = build_request(feature.prompt, values, endpoint, params=bound.params, feature=entry)
            return await self._refusals.complete(sent, self._client().complete)
        params = {**bound.params, **request.params, **self._own_params(request.params)}
        if entry.budget.completion_tokens is not None:
            params.setdefault("max_tokens", entry.budget.completion_tokens)
        sent = Request(
            endpoint=endpoint,
            messages=tuple(request.messages),
            params=params,
            response_format=_response_format(request.schema),
        )
        return await self._refusals.complete(sent, self._client().complete)

    def _opened(self) -> Gateway:
        if self._gateway is None:
            workspace = self._workspace
            toggles = FeatureToggles(fallback=False, warms_fallbacks=False, assignment=False, release=workspace.release)
            settings = replace(
                workspace.context.runtime_options(),
                connect=lambda _redactor, **_options: _Borrowed(self._client(), self._refusals),
                toggles=toggles,
            )
            self._gateway = Gateway(
                workspace.project.root, env=workspace.context.env, origin="judge", settings=settings
            )
        return self._gateway


def _response_format(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "verdict", "schema": dict(schema)}}


def _completion(result: CompletionResult) -> Completion:
    return Completion(
        text=result.text,
        model=result.model,
        served_model=result.served_model,
        provider=result.provider,
        finish_reason=result.finish_reason,
        input_tokens=result.input_tokens,
        output_tokens=result.output_tokens,
        cost_usd=result.cost_usd,
        latency_ms=result.latency_ms,
        ttft_ms=result.ttft_ms,
    )


class _Borrowed:
    """A client that the gateway may not close; a schema that an endpoint refuses is left out."""

    def __init__(self, client: Client, refusals: SchemaRefusals) -> None:
        self._client = client
        self._refusals = refusals

    async def complete(self, request: Request) -> Completion:
        return await self._refusals.complete(request, self._client.complete)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        async for chunk in self._client.stream(request):
            yield chunk

    async def embed(self, request: EmbedRequest) -> Embeddings:
        return await self._client.embed(request)

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        await self._client.warm_up(endpoints)

    async def aclose(self) -> None:
        """Close nothing: the run closes its client."""
