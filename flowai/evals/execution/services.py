"""Programs and models that a run may call besides its targets' models; each is opened when it is first used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowai.errors import Place, SuiteError
from flowai.evals.assertions.services import DEFAULT_CODE_TIMEOUT_S, CheckServices
from flowai.evals.execution.endpoints import resolve_endpoint
from flowai.evals.templates import TemplateError, protect_partial, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flowai.errors import CallError
    from flowai.evals.assertions.services import CodeRunner, ModelCaller
    from flowai.evals.code.runner import SubprocessCodeRunner
    from flowai.evals.judges import GraderClient
    from flowai.evals.judges.grader_client import GraderCache
    from flowai.evals.suites.records import CodeRef, Suite, SuiteProvider
    from flowai.providers import Client, Completion, Endpoint
    from flowai.providers.client import ChatMessage, Embeddings
    from flowai.workspace.workspace import Workspace


class RunServices:
    """Services of a run; close them in the event loop that used them.

    Args:
        workspace: the project.
        client: returns the client that calls the targets.
        runs_code: whether code of suites may run.
        worker_count: processes per file of code.
        on_grader_call: called after each call of a grader that no cache answered.
    """

    def __init__(
        self,
        workspace: Workspace,
        client: Callable[[], Client],
        *,
        runs_code: bool = True,
        worker_count: int = 1,
        on_grader_call: Callable[[Endpoint, Completion | CallError], None] = lambda _endpoint, _result: None,
    ) -> None:
        self._workspace = workspace
        self._client = client
        self._runs_code = runs_code
        self._worker_count = worker_count
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
                models=_Models(lambda: self._graders(suite)),
                templates=_Templates(suite, self.environment_of(suite)),
            )
        return self._checks[suite.path]

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
        from flowai.evals.judges import (
            GraderClient,
            GraderSettings,
            default_embedder,
            default_grader,
            default_moderator,
        )
        from flowai.providers.direct.moderation_client import ModerationClient

        if suite.path not in self._models:
            workspace = self._workspace
            environ = workspace.environ
            settings = GraderSettings(
                resolve=lambda provider: resolve_endpoint(workspace, provider),
                on_call=self._on_grader_call,
                default_grader=suite.grader or default_grader(workspace.registry, workspace.release, environ),
                default_embedder=default_embedder(environ),
                default_moderator=default_moderator(environ),
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

    def __init__(self, models: Callable[[], ModelCaller]) -> None:
        self._models = models

    def check_grader(self, grader: SuiteProvider | None) -> None:
        self._models().check_grader(grader)

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
