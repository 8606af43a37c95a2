"""The records of a suite: what is run, on what, with which checks, and when it counts as met.

In: nothing. Out: frozen records. Must never know how they are written in files, nor how a check is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.reports.records import Gate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """One check on an output, as the suite asks for it.

    Args:
        type: its type without `not-` (`contains`).
        negated: whether it stood with `not-`.
        value: what the type compares with; variables are filled in already; None where none was given.
        threshold: the type's limit or, for an `assert-set`, the score it needs (0 to 1); None where none was given.
        weight: its share in the case's score, >= 0; 0 is looked at but never fails a case.
        metric: name under which its score is collected; None for none.
        place: `file:line` where it stands.
        children: the assertions of an `assert-set`; empty for every other type.
    """

    type: str
    negated: bool = False
    value: Any = None
    threshold: float | None = None
    weight: float = 1.0
    metric: str | None = None
    place: str = ""
    children: tuple[Assertion, ...] = ()

    @property
    def spelling(self) -> str:
        """The type as the suite spells it, with its `not-`."""
        return f"not-{self.type}" if self.negated else self.type


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One row: the variables of a prompt, and what must hold of the answer.

    Args:
        id: its identity within its suite, stable across runs.
        vars: values for the prompt's variables; plain JSON values.
        assertions: what is checked, in order; those of `defaultTest` come first.
        threshold: weighted score that passes, 0 to 1; None when every check that counts must hold.
        description: what it is about, for people; None when nobody said.
        place: `file:line` where it stands.
        metadata: what people note beside it; never sent to a model.
    """

    id: str
    vars: dict[str, Any]
    assertions: tuple[Assertion, ...]
    threshold: float | None = None
    description: str | None = None
    place: str = ""
    metadata: dict[str, Any] = {}

    @property
    def promises_json(self) -> bool:
        """Whether an assertion wants the whole answer to be JSON."""
        return any(assertion.type == "is-json" and not assertion.negated for assertion in walk(self.assertions))


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """A file in `evals/`, with its datasets read.

    Args:
        path: its path from the project's root (`evals/summary.yaml`).
        description: what it is about; None when nobody said.
        prompts: prompt ids (`prompts/summary_v2`), in order, each once; empty when the file names none.
        models: the registry's names or LiteLLM's, in order, each once; empty when the file names none.
        cases: at least one, with ids of their own.
        feature: the registry's feature it belongs to; None when nobody said.
        repeats: how often each case is asked, >= 1.
        gate: what a run must reach; None for the default, that every case passes.
        baseline: prompt id to compare with; None for none.
    """

    path: str
    cases: tuple[Case, ...]
    description: str | None = None
    prompts: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    feature: str | None = None
    repeats: int = 1
    gate: Gate | None = None
    baseline: str | None = None


def walk(assertions: Iterable[Assertion]) -> Iterator[Assertion]:
    """Give every assertion and, after each set, what it holds."""
    for assertion in assertions:
        yield assertion
        yield from walk(assertion.children)
