"""Records of a suite: assertions, cases and gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.reports.records import Gate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


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
    assertions: tuple[Assertion, ...]
    """In order; those of `defaultTest` come first."""
    threshold: float | None = None
    """Minimum weighted score, 0 to 1; None: every check with a weight must pass."""
    description: str | None = None
    place: str = ""
    """`file:line`."""
    metadata: dict[str, Any] = {}
    """Never sent to a model."""

    @property
    def promises_json(self) -> bool:
        """True if an assertion requires the complete answer to be JSON."""
        return any(
            assertion.type == "is-json" and not assertion.negated for assertion in iterate_assertions(self.assertions)
        )


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """A file in `evals/`, with its datasets."""

    path: str
    """From the project's root (`evals/summary.yaml`)."""
    cases: tuple[Case, ...]
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


def iterate_assertions(assertions: Iterable[Assertion]) -> Iterator[Assertion]:
    """Yield every assertion and, after each set, its children."""
    for assertion in assertions:
        yield assertion
        yield from iterate_assertions(assertion.children)
