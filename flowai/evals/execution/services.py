"""Programs and models that a run may call besides its targets' models; each is opened when it is first used."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowai.errors import Place, SuiteError
from flowai.evals.assertions.graded import check_graders
from flowai.evals.assertions.services import DEFAULT_CODE_TIMEOUT_S, CheckServices
from flowai.evals.execution.endpoints import endpoint_as_written, resolve_endpoint
from flowai.evals.execution.transforms import output_of
from flowai.evals.judges.default_grader import chosen_grader, default_embedder, default_grader, default_moderator
from flowai.evals.suites.records import SuiteProvider
from flowai.evals.targets.records import TargetRequest
from flowai.evals.templates import TemplateError, protect_partial, render
from flowai.providers import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flowai.errors import CallError
    from flowai.evals.assertions.services import CodeRunner, JudgeFeature, JudgeRequest, ModelCaller
    from flowai.evals.code.runner import SubprocessCodeRunner
    from flowai.evals.judges.grader_client import GraderCache, GraderClient
    from flowai.evals.suites.records import Case, CodeRef, Suite
    from flowai.providers import Client, Completion
    from flowai.providers.client import ChatMessage, Embeddings
    from flowai.workspace.workspace import Workspace


class RunServices:
    """Services of a run; close them in the event loop that used them.

    Args:
        workspace: the project.
        client: returns the client that calls the targets.
        runs_code: whether code of suites may run.
        worker_count: processes per file of code.
        needs_keys: whether graders are called, so that they need their keys; False for a replay.
        on_grader_call: called after each call of a grader that no cache answered.
    """

    def __init__(
        self,
        workspace: Workspace,
        client: Callable[[], Client],
        *,
        runs_code: bool = True,
        worker_count: int = 1,
        needs_keys: bool = True,
        on_grader_call: Callable[[Endpoint, Completion | CallError], None] = lambda _endpoint, _result: None,
    ) -> None:
        self._workspace = workspace
        self._client = client
        self._runs_code = runs_code
        self._worker_count = worker_count
        self._needs_keys = needs_keys
        self._on_grader_call = on_grader_call
        self._checks: dict[str, CheckServices] = {}
        self._runners: dict[tuple[str, bool], SubprocessCodeRunner] = {}
        self._models: dict[str, GraderClient] = {}
        self.grader_cache: GraderCache | None = None
        """Cache of graders' answers; None without one."""

    def checks_of(self, suite: Suite) -> CheckServices:
        """Return what the checks of a suite may call."""
        if suite.path not in self._checks:
            self._checks[suite.path] = CheckServices(
                code=_Code(lambda: self.runner(suite, with_keys=False)) if self._runs_code else None,
                models=_Models(lambda: self._graders(suite), lambda: self.judge_of(suite)),
                webhooks=_Webhooks(self._client),
                templates=_Templates(suite, self.environment_of(suite)),
            )
        return self._checks[suite.path]

    def check_graders(self, suite: Suite, case: Case) -> None:
        """Check that every graded assertion of a case has a grader, before any call is paid for.

        Raises:
            SuiteError: an assertion has none.
            MissingKeyError: a grader has no key.
        """

        def check(grader: SuiteProvider | None) -> None:
            judge = self.judge_of(suite) if grader is None else None
            if judge is None:
                self._resolve(chosen_grader(grader, self._default_grader(suite)))
            elif self._needs_keys:
                for model in judge.jury or (judge.model,):
                    self._workspace.resolve_endpoint(model)

        check_graders(case, check)

    def judge_of(self, suite: Suite) -> JudgeFeature | None:
        """Return the registry's judge; None if the suite names a grader, or the release binds no judge."""
        return self._judge if suite.grader is None else None

    @cached_property
    def _judge(self) -> JudgeFeature | None:
        from flowai.evals.judges.feature_judge import judge_feature

        return judge_feature(self._workspace)

    def _default_grader(self, suite: Suite) -> SuiteProvider | None:
        workspace = self._workspace
        return suite.grader or default_grader(workspace.registry, workspace.release, workspace.environ)

    def _resolve(self, grader: SuiteProvider) -> Endpoint:
        return (resolve_endpoint if self._needs_keys else endpoint_as_written)(self._workspace, grader)

    def code_of(self, suite: Suite) -> CodeRunner | None:
        """Return the runner of a suite's transforms; None if no code may run."""
        return self.checks_of(suite).code

    def runner(self, suite: Suite, *, with_keys: bool) -> SubprocessCodeRunner:
        """Return the runner of a suite's code.

        Args:
            suite: the suite.
            with_keys: True for targets, hooks, prompts and variables, which get all variables; False for assertions and
                transforms.
        """
        from flowai.evals.code.environment import code_environment
        from flowai.evals.code.records import CHECK_LIMITS, TARGET_LIMITS
        from flowai.evals.code.runner import SubprocessCodeRunner

        key = (suite.path, with_keys)
        if key not in self._runners:
            self._runners[key] = SubprocessCodeRunner(
                folder=Path(suite.folder),
                environment=code_environment(suite.env, with_keys=with_keys, environ=self._workspace.environ),
                limits=TARGET_LIMITS if with_keys else CHECK_LIMITS,
                redactor=self._workspace.redactor,
                worker_count=self._worker_count,
            )
        return self._runners[key]

    def own_runner(self, suite: Suite) -> SubprocessCodeRunner | None:
        """Return the runner of a suite's prompts, variables and hooks; None if no code may run."""
        return self.runner(suite, with_keys=True) if self._runs_code else None

    def environment_of(self, suite: Suite) -> Mapping[str, str]:
        """Return the variables for `{{env.NAME}}`."""
        return {**self._workspace.environ, **suite.env}

    async def aclose(self) -> None:
        """End processes and connections; may be called twice."""
        for runner in self._runners.values():
            await runner.aclose()
        for models in self._models.values():
            await models.aclose()

    def _graders(self, suite: Suite) -> GraderClient:
        from flowai.evals.judges.feature_judge import FeatureJudge
        from flowai.evals.judges.grader_client import GraderClient, GraderSettings
        from flowai.providers.direct.moderation_client import ModerationClient

        if suite.path not in self._models:
            workspace = self._workspace
            environ = workspace.environ
            judge = self.judge_of(suite)
            settings = GraderSettings(
                resolve=self._resolve,
                on_call=self._on_grader_call,
                default_grader=self._default_grader(suite),
                default_embedder=default_embedder(environ),
                default_moderator=default_moderator(environ),
                judge=None
                if judge is None
                else FeatureJudge(
                    workspace,
                    judge,
                    self._client,
                    replays=not self._needs_keys,
                    uses_cache=lambda: self.grader_cache is not None,
                ),
                cache=self.grader_cache,
            )
            moderation = ModerationClient(redactor=workspace.redactor)
            self._models[suite.path] = GraderClient(self._client(), moderation, settings)
        return self._models[suite.path]


class _Code:
    """Runner of code that is opened at its first call."""

    def __init__(self, runner: Callable[[], CodeRunner]) -> None:
        self._runner = runner

    async def call(self, code: CodeRef, arguments: Sequence[Any], *, timeout_s: float = DEFAULT_CODE_TIMEOUT_S) -> Any:  # noqa: ANN401 - any JSON value
        return await self._runner().call(code, arguments, timeout_s=timeout_s)


class _Models:
    """Graders that are opened at their first call."""

    def __init__(self, models: Callable[[], ModelCaller], judge: Callable[[], JudgeFeature | None]) -> None:
        self._models = models
        self._judge = judge

    @property
    def judge(self) -> JudgeFeature | None:
        return self._judge()

    async def ask_judge(self, request: JudgeRequest) -> Completion:
        return await self._models().ask_judge(request)

    async def complete(
        self,
        grader: SuiteProvider | None,
        messages: Sequence[ChatMessage],
        *,
        params: Mapping[str, Any],
        schema: Mapping[str, Any] | None = None,
    ) -> Completion:
        return await self._models().complete(grader, messages, params=params, schema=schema)

    async def embed(self, embedder: SuiteProvider | None, texts: Sequence[str]) -> Embeddings:
        return await self._models().embed(embedder, texts)

    async def moderate(self, grader: SuiteProvider | None, text: str) -> tuple[str, ...]:
        return await self._models().moderate(grader, text)


class _Templates:
    """Renders templates that a suite writes for its graders."""

    def __init__(self, suite: Suite, environ: Mapping[str, str]) -> None:
        self._suite = suite
        self._environ = environ

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        try:
            return render(protect_partial(template), variables, env=self._environ)
        except TemplateError as error:
            raise SuiteError(
                f"the template cannot be rendered: {error.what}", place=Place(file=self._suite.path)
            ) from None


class _Webhooks:
    """Posts answers to addresses, as targets of kind `http` are called."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    async def post(self, url: str, body: Any) -> Any:  # noqa: ANN401 - any JSON value
        config = {
            "url": url,
            "method": "POST",
            "headers": {"Content-Type": "application/json"},
            "body": "{{ body | dump }}",  # the answer is a value, never part of a template
        }
        provider = SuiteProvider(id=url, name=url, kind="http", config=config)
        request = TargetRequest(
            endpoint=Endpoint(name=url, model=url, provider="http"),
            messages=(),
            provider=provider,
            variables={"body": body},
        )
        answer = await self._client().complete(request)
        output = output_of(answer)
        if not isinstance(output, str):
            return output
        try:
            return json.loads(output)
        except ValueError:
            return output
