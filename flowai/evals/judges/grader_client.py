"""Calls graders: cached, logged as calls of origin `judge`, with a JSON Schema where the grader knows them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from flowai.cache.exact import cache_key
from flowai.errors import CallError, SuiteError
from flowai.evals.judges.default_grader import NO_GRADER_HINT, chosen_grader
from flowai.evals.judges.schema_refusal import SchemaRefusals
from flowai.evals.targets.records import TargetRequest
from flowai.evals.targets.system_prompt import with_system_prompt
from flowai.providers.client import EmbedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flowai.evals.assertions.services import JudgeFeature, JudgeRequest
    from flowai.evals.judges.feature_judge import FeatureJudge
    from flowai.evals.suites.records import SuiteProvider
    from flowai.providers import Client, Completion, Endpoint
    from flowai.providers.client import ChatMessage, Embeddings
    from flowai.providers.direct.moderation_client import ModerationClient

NO_MODERATOR_HINT = "set `provider: openai:moderation:omni-moderation-latest` in the assertion, or set OPENAI_API_KEY"
NO_EMBEDDER_HINT = "set `defaultTest.options.provider.embedding`, or set OPENAI_API_KEY"


class GraderCache(Protocol):
    """Store of answers."""

    def get(self, key: str) -> Completion | None:
        """Return a stored answer."""
        ...

    def put(self, key: str, completion: Completion) -> None:
        """Store an answer."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class GraderSettings:
    """Dependencies of a run's graders."""

    resolve: Callable[[SuiteProvider], Endpoint]
    """Return the endpoint of a grader, with its key."""
    on_call: Callable[[Endpoint, Completion | CallError], None] = lambda _endpoint, _result: None
    """Called after each call of a grader that no cache answered."""
    default_grader: SuiteProvider | None = None
    judge: FeatureJudge | None = None
    """The registry's judge in place of a default grader."""
    default_embedder: SuiteProvider | None = None
    default_moderator: SuiteProvider | None = None
    cache: GraderCache | None = None


class GraderClient:
    """Calls the graders of one run through the client that calls its targets.

    Args:
        client: calls models and, where a grader is one, programs; it is not closed here.
        moderation: calls moderation models; it is closed with this client.
        settings: how graders are found, cached and logged.
    """

    def __init__(self, client: Client, moderation: ModerationClient, settings: GraderSettings) -> None:
        self._client = client
        self._moderation = moderation
        self._settings = settings
        self._endpoints: dict[str, Endpoint] = {}
        self._refusals = SchemaRefusals()

    @property
    def judge(self) -> JudgeFeature | None:
        """The registry's judge; see `ModelCaller.judge`."""
        return None if self._settings.judge is None else self._settings.judge.feature

    async def ask_judge(self, request: JudgeRequest) -> Completion:
        """Return the reply of the registry's judge; see `ModelCaller.ask_judge`."""
        if self._settings.judge is None:
            raise SuiteError("needs a model that grades", hint=NO_GRADER_HINT)
        return await self._settings.judge.ask(request)

    async def complete(
        self,
        grader: SuiteProvider | None,
        messages: Sequence[ChatMessage],
        *,
        params: Mapping[str, Any],
        schema: Mapping[str, Any] | None = None,
    ) -> Completion:
        """Return a grader's answer; see `ModelCaller.complete`."""
        chosen = chosen_grader(grader, self._settings.default_grader)
        endpoint = self._endpoint(chosen)
        is_model = chosen.kind == "model"
        request = TargetRequest(
            endpoint=endpoint,
            messages=tuple(messages),
            params={**params, **chosen.params} if is_model else {},
            response_schema=dict(schema) if schema is not None and is_model else None,
            provider=chosen,
            prompt=_as_text(messages),
        )
        if is_model:
            request = with_system_prompt(request, chosen)
        return await self._refusals.complete(request, partial(self._cached, is_model=is_model))

    async def embed(self, embedder: SuiteProvider | None, texts: Sequence[str]) -> Embeddings:
        """Return one vector per text; see `ModelCaller.embed`."""
        chosen = embedder or self._settings.default_embedder
        if chosen is None:
            raise SuiteError("needs a model that embeds texts", hint=NO_EMBEDDER_HINT)
        return await self._client.embed(EmbedRequest(endpoint=self._endpoint(chosen), texts=tuple(texts)))

    async def moderate(self, grader: SuiteProvider | None, text: str) -> tuple[str, ...]:
        """Return the flagged categories; see `ModelCaller.moderate`."""
        chosen = grader or self._settings.default_moderator
        if chosen is None:
            raise SuiteError("needs a moderation model", hint=NO_MODERATOR_HINT)
        return await self._moderation.flagged(self._endpoint(chosen), text)

    async def aclose(self) -> None:
        """Close the connections to moderation models and to the registry's judge; may be called twice."""
        await self._moderation.aclose()
        if self._settings.judge is not None:
            await self._settings.judge.aclose()

    def _endpoint(self, grader: SuiteProvider) -> Endpoint:
        if grader.name not in self._endpoints:
            self._endpoints[grader.name] = self._settings.resolve(grader)
        return self._endpoints[grader.name]

    async def _cached(self, request: TargetRequest, *, is_model: bool) -> Completion:
        cache = self._settings.cache if is_model else None
        key = cache_key(request, feature="judge", prompt_hash="") if cache is not None else ""
        if cache is not None and (stored := cache.get(key)) is not None:
            return stored
        try:
            completion = await self._client.complete(request)
        except CallError as error:
            self._settings.on_call(request.endpoint, error)
            raise
        self._settings.on_call(request.endpoint, completion)
        if cache is not None and completion.finish_reason in ("stop", None):
            cache.put(key, completion)
        return completion


def _as_text(messages: Sequence[ChatMessage]) -> str:
    """Return the prompt as programs get it: the text of a single message, else the messages as JSON."""
    if len(messages) == 1 and isinstance(messages[0].get("content"), str):
        return str(messages[0]["content"])
    return msgspec.json.encode(list(messages)).decode()
