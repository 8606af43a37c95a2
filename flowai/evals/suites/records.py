"""Records of a suite: prompts, targets, assertions, cases and gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowai.evals.reports.records import Gate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class CodeRef(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of code that a suite names: inline, or a function of a file."""

    language: Literal["python", "javascript"]
    source: str | None = None
    """Inline code; None if it is in a file."""
    file: str | None = None
    """Absolute path; None for inline code."""
    function: str | None = None
    """Function in the file; None for the default of its use."""
    parameters: tuple[str, ...] = ("output", "context")
    """Names of the arguments in inline code."""
    place: str = ""
    """`file:line`."""


class SuitePrompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt of a suite, before it is rendered."""

    id: str
    """Unique in the suite; for a prompt of the project's library its id (`prompts/summary_v2`)."""
    label: str
    """Name in reports."""
    kind: Literal["library", "text", "chat", "function"]
    """`library`: a `.prompt` file. `text`: a template of one message. `chat`: a template of a JSON or YAML list of
    messages. `function`: code that returns either."""
    template: str = ""
    """Template source of `text` and `chat`."""
    code: CodeRef | None = None
    """Code of a `function`."""
    config: dict[str, Any] = {}
    """Parameters that override those of the provider."""
    file: str | None = None
    """Path from the project's root; None if it is written into the suite."""
    place: str = ""
    """`file:line`."""


class SuiteProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A model or program that a suite tries its prompts on."""

    id: str
    """As written (`openai:gpt-4o-mini`)."""
    name: str
    """Its label, else its id; unique in the suite. Reports show it as the model."""
    kind: Literal["model", "echo", "http", "exec", "python", "javascript"]
    model: str | None = None
    """Name in the registry, or LiteLLM's; only of kind `model`."""
    config: dict[str, Any] = {}
    """As written."""
    params: dict[str, Any] = {}
    """Sampling parameters by LiteLLM's names; only of kind `model`."""
    api_base: str | None = None
    """Base URL; None for the provider's own."""
    api_key: str | None = None
    """Key, or reference to a variable (`${NAME}`); never shown."""
    code: CodeRef | None = None
    """Program of kinds `python` and `javascript`."""
    prompts: tuple[str, ...] | None = None
    """Ids or labels of the only prompts to try on it; None for all."""
    transform: CodeRef | None = None
    """Changes every answer of this provider before it is checked."""
    delay_s: float = 0.0
    """Pause before each call."""
    env: dict[str, str] = {}
    """Variables for this provider only."""
    place: str = ""
    """`file:line`."""

    def __repr__(self) -> str:
        """Return a text without the key and the configuration."""
        return f"SuiteProvider(id={self.id!r}, name={self.name!r}, kind={self.kind!r})"


class CaseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings for rendering, transforming and grading one case."""

    prefix: str = ""
    """Text before the rendered prompt."""
    suffix: str = ""
    """Text after the rendered prompt."""
    transform: CodeRef | None = None
    """Changes the answer before it is checked, after the provider's own transform."""
    transform_vars: CodeRef | None = None
    """Changes the variables before the prompt is rendered."""
    store_output_as: str | None = None
    """Variable of later cases that holds this case's answer."""
    is_serial: bool = False
    """Whether no other case may run at the same time."""
    grader: SuiteProvider | None = None
    """Model of graded assertions; None for the suite's default."""
    embedder: SuiteProvider | None = None
    """Model that embeds texts; None for the suite's default."""
    factuality: dict[str, float] = {}
    """Scores of the categories of `factuality`: `subset`, `superset`, `agree`, `disagree`, `differButFactual`."""
    rubric_prompt: Any = None
    """Template of graded assertions, a text or a list of messages; None for the type's own."""
    repeats: int | None = None
    """Trials of this case; None for the suite's number."""
    config: dict[str, Any] = {}
    """Parameters that override those of the prompt and the provider."""


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """An assertion as the suite declares it."""

    type: str
    """Without `not-` (`contains`)."""
    negated: bool = False
    value: Any = None
    """Variables are already substituted."""
    threshold: float | None = None
    """The type's limit; for an `assert-set`, the score it needs (0 to 1)."""
    weight: float = 1.0
    """Share in the case's score, >= 0; a check of weight 0 never fails a case."""
    metric: str | None = None
    """Metric that collects the score; None for none."""
    place: str = ""
    """`file:line`."""
    children: tuple[Assertion, ...] = ()
    """The assertions of an `assert-set`; empty for every other type."""
    code: CodeRef | None = None
    """Code of types that run code; None for every other type."""
    transform: CodeRef | None = None
    """Changes the answer before this assertion checks it."""
    config: dict[str, Any] = {}
    """The type's own settings."""
    grader: SuiteProvider | None = None
    """Model of a graded assertion; None for the case's."""
    embedder: SuiteProvider | None = None
    """Model that embeds texts; None for the case's."""
    rubric_prompt: Any = None
    """Template of a graded assertion; None for the case's."""
    is_template: bool = False
    """Whether value, metric and code have references to variables that are only known when the case is run."""
    context_transform: CodeRef | None = None
    """Computes the context of a graded assertion from the answer; None for the variable `context`."""

    @property
    def spelling(self) -> str:
        """The type as in the suite, with its `not-`."""
        return f"not-{self.type}" if self.negated else self.type


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A case: the variables of a prompt, and the assertions on its answer."""

    id: str
    """Unique within its suite, stable across runs."""
    vars: dict[str, Any]
    """Values for the prompt's variables; plain JSON values."""
    dynamic_vars: dict[str, CodeRef] = {}
    """Code that computes a variable when the prompt is rendered; in `vars` is the name of its file."""
    assertions: tuple[Assertion, ...]
    """In order; those of `defaultTest` come first."""
    threshold: float | None = None
    """Minimum weighted score, 0 to 1; None: every check with a weight must pass."""
    description: str | None = None
    place: str = ""
    """`file:line`."""
    metadata: dict[str, Any] = {}
    """Never sent to a model."""
    prompts: tuple[str, ...] | None = None
    """Ids or labels of the only prompts to try; None for all."""
    providers: tuple[str, ...] | None = None
    """Names or ids of the only targets to try; None for all."""
    provider: SuiteProvider | None = None
    """Target of this case instead of the suite's; None for the suite's."""
    options: CaseOptions = CaseOptions()
    recorded_output: Any = None
    """Answer to check instead of calling a model; None to call it."""
    scoring: CodeRef | None = None
    """Combines the results of the checks into the case's; None for the weighted mean."""
    is_critical: bool = False
    """Whether the gate requires this case to pass."""
    tags: tuple[str, ...] = ()
    """Names of the slices that the case belongs to."""

    @property
    def promises_json(self) -> bool:
        """True if an assertion requires the complete answer to be JSON."""
        return any(
            assertion.type == "is-json" and not assertion.negated for assertion in iterate_assertions(self.assertions)
        )


class EvaluateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The suite's own defaults for options of `flowai eval`."""

    max_concurrency: int | None = None
    repeats: int | None = None
    delay_s: float = 0.0
    """Pause before each call."""
    uses_cache: bool | None = None
    timeout_s: float | None = None
    """Limit of one case."""
    max_duration_s: float | None = None
    """Limit of the run."""


class DerivedMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that is computed from the other metrics of a run."""

    name: str
    value: str | CodeRef
    """Arithmetic expression over the names of metrics, or code."""


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """A file in `evals/`, with its datasets."""

    path: str
    """From the project's root (`evals/summary.yaml`)."""
    cases: Sequence[Case]
    """In order; those of a large suite are on disk."""
    description: str | None = None
    prompts: tuple[str, ...] = ()
    """Prompt ids (`prompts/summary_v2`), in order, each once; empty if the file names none."""
    models: tuple[str, ...] = ()
    """The registry's names or LiteLLM's, in order, each once; empty if the file names none."""
    feature: str | None = None
    repeats: int = 1
    """Trials per case, >= 1."""
    gate: Gate | None = None
    """None for the default: every case passes."""
    baseline: str | None = None
    prompt_sources: tuple[SuitePrompt, ...] = ()
    """Prompts that are not in the project's library, in order; `prompts` has the ids of all."""
    targets: tuple[SuiteProvider, ...] = ()
    """Targets with settings of their own, in order; `models` has the names of all."""
    env: dict[str, str] = {}
    """Variables for templates, providers and code."""
    derived_metrics: tuple[DerivedMetric, ...] = ()
    extensions: tuple[CodeRef, ...] = ()
    """Hooks before and after the suite and each case."""
    evaluate: EvaluateOptions = EvaluateOptions()
    output_paths: tuple[str, ...] = ()
    """Report files to write, from the suite's folder."""
    tags: dict[str, str] = {}
    folder: str = ""
    """Absolute path of the folder in which the suite's code runs."""
    grader: SuiteProvider | None = None
    """Default model of graded assertions; None for the project's."""
    renders_variables: bool = True
    """Whether templates inside variables are rendered."""
    warnings: tuple[str, ...] = ()
    """Keys that are ignored, each with its place and the reason."""


def iterate_assertions(assertions: Iterable[Assertion]) -> Iterator[Assertion]:
    """Yield every assertion and, after each set, its children."""
    for assertion in assertions:
        yield assertion
        yield from iterate_assertions(assertion.children)
