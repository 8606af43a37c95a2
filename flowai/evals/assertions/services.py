"""Programs, models and addresses that checks may call; a run opens them once for all its checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from flowai.evals.assertions.schema import Schemas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.evals.suites.records import CodeRef, SuiteProvider
    from flowai.prompts import Prompt
    from flowai.providers import Completion
    from flowai.providers.client import ChatMessage, Embeddings

DEFAULT_CODE_TIMEOUT_S = 10.0
"""Limit of one call of a suite's code."""


CodeErrorKind = Literal["raised", "timed out", "killed", "nonsense", "missing"]


class CodeError(Exception):
    """A suite's code gave no result.

    Args:
        what: the reason, after "the code"; secrets redacted.
        kind: `raised` an exception, `timed out`, `killed` by a limit or by itself, `nonsense`: it returned something
            else than JSON, `missing`: file, function or program do not exist.
    """

    def __init__(self, what: str, *, kind: CodeErrorKind = "raised") -> None:
        super().__init__(what)
        self.what = what
        self.kind = kind


class CodeRunner(Protocol):
    """Runs the code of suites outside this process."""

    async def call(self, code: CodeRef, arguments: Sequence[Any], *, timeout_s: float = DEFAULT_CODE_TIMEOUT_S) -> Any:  # noqa: ANN401 - any JSON value
        """Call code with JSON values; return its JSON value.

        Raises:
            CodeError: it gave no result; the message names file and line where they are known.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeFeature:
    """The registry's judge, as the release binds it."""

    name: str
    """The feature."""
    prompt: Prompt
    judges_rubrics: bool
    """Whether its prompt has the variables `rubric` and `output`; otherwise the package's prompts are used."""
    model: str
    """Name in the registry."""
    params: Mapping[str, Any]
    """Sampling parameters of the prompt and the release."""
    jury: tuple[str, ...] = ()
    """Names of the models that judge instead of `model`; empty without a jury."""
    combine: Literal["majority", "mean", "cyclic"] | None = None
    """None without a jury."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeRequest:
    """Request to the registry's judge."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """Variables of its own prompt."""
    messages: tuple[ChatMessage, ...] | None = None
    """The package's prompt, rendered, in place of its own."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters of the package's prompt."""
    schema: Mapping[str, Any] | None = None
    """JSON Schema of the reply; only with messages."""
    juror: str | None = None
    """Model of its jury; None for its own."""


class ModelCaller(Protocol):
    """Calls the models of graded and semantic checks."""

    @property
    def judge(self) -> JudgeFeature | None:
        """The registry's judge, which grades where neither assertion nor case nor suite name a grader."""
        ...

    async def ask_judge(self, request: JudgeRequest) -> Completion:
        """Return the reply of the registry's judge.

        Raises:
            CallError: it failed.
            BudgetError: its budget is spent.
            PromptError: the answer lacks a variable of its prompt.
        """
        ...

    async def complete(
        self,
        grader: SuiteProvider | None,
        messages: Sequence[ChatMessage],
        *,
        params: Mapping[str, Any],
        schema: Mapping[str, Any] | None = None,
    ) -> Completion:
        """Return a grader's answer; None for the default grader.

        `schema` is the JSON Schema of the answer; a grader that does not know schemas answers without.

        Raises:
            CallError: it failed.
            SuiteError: there is no default grader.
        """
        ...

    async def embed(self, embedder: SuiteProvider | None, texts: Sequence[str]) -> Embeddings:
        """Return one vector per text; None for the default embedder.

        Raises:
            CallError: it failed.
            SuiteError: there is no default embedder.
        """
        ...

    async def moderate(self, grader: SuiteProvider | None, text: str) -> tuple[str, ...]:
        """Return the categories for which a moderation model flags a text; None for the default model.

        Raises:
            CallError: it failed.
            SuiteError: there is no such model.
        """
        ...


class WebhookCaller(Protocol):
    """Posts answers to the addresses of `webhook` assertions."""

    async def post(self, url: str, body: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Post a JSON body; return the JSON answer.

        Raises:
            CallError: it failed.
        """
        ...


class TemplateRenderer(Protocol):
    """Renders the templates that a suite writes itself."""

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """Return the rendered text.

        Raises:
            SuiteError: the template is wrong.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckServices:
    """Services of a run's checks; None for one that this run does not have."""

    schemas: Schemas = field(default_factory=Schemas)
    code: CodeRunner | None = None
    models: ModelCaller | None = None
    webhooks: WebhookCaller | None = None
    templates: TemplateRenderer | None = None
