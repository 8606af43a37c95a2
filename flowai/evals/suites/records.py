"""The records of a suite: what is run, on what, with which checks, and when it counts as met."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.reports.records import Gate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """One check on an output, as the suite asks for it."""

    type: str
    """Its type without `not-` (`contains`)."""
    negated: bool = False
    """Whether it stood with `not-`."""
    value: Any = None
    """What the type compares with; variables are filled in already; None where none was given."""
    threshold: float | None = None
    """The type's limit or, for an `assert-set`, the score it needs (0 to 1); None where none was given."""
    weight: float = 1.0
    """Its share in the case's score, >= 0; 0 is looked at but never fails a case."""
    metric: str | None = None
    """Name under which its score is collected; None for none."""
    place: str = ""
    """`file:line` where it stands."""
    children: tuple[Assertion, ...] = ()
    """The assertions of an `assert-set`; empty for every other type."""

    @property
    def spelling(self) -> str:
        """The type as the suite spells it, with its `not-`."""
        return f"not-{self.type}" if self.negated else self.type


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One row: the variables of a prompt, and what must hold of the answer."""

    id: str
    """Its identity within its suite, stable across runs."""
    vars: dict[str, Any]
    """Values for the prompt's variables; plain JSON values."""
    assertions: tuple[Assertion, ...]
    """What is checked, in order; those of `defaultTest` come first."""
    threshold: float | None = None
    """Weighted score that passes, 0 to 1; None when every check that counts must hold."""
    description: str | None = None
    """What it is about, for people; None when nobody said."""
    place: str = ""
    """`file:line` where it stands."""
    metadata: dict[str, Any] = {}
    """What people note beside it; never sent to a model."""

    @property
    def promises_json(self) -> bool:
        """Whether an assertion wants the whole answer to be JSON."""
        return any(assertion.type == "is-json" and not assertion.negated for assertion in walk(self.assertions))


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """A file in `evals/`, with its datasets read."""

    path: str
    """Its path from the project's root (`evals/summary.yaml`)."""
    cases: tuple[Case, ...]
    """At least one, with ids of their own."""
    description: str | None = None
    """What it is about; None when nobody said."""
    prompts: tuple[str, ...] = ()
    """Prompt ids (`prompts/summary_v2`), in order, each once; empty when the file names none."""
    models: tuple[str, ...] = ()
    """The registry's names or LiteLLM's, in order, each once; empty when the file names none."""
    feature: str | None = None
    """The registry's feature it belongs to; None when nobody said."""
    repeats: int = 1
    """How often each case is asked, >= 1."""
    gate: Gate | None = None
    """What a run must reach; None for the default, that every case passes."""
    baseline: str | None = None
    """Prompt id to compare with; None for none."""


def walk(assertions: Iterable[Assertion]) -> Iterator[Assertion]:
    """Give every assertion and, after each set, what it holds."""
    for assertion in assertions:
        yield assertion
        yield from walk(assertion.children)
