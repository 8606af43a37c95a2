"""Texts of a project's suites and datasets, to keep evaluation cases out of training sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.errors import DatasetError
from flowai.evals.suites.datasets import SUFFIXES, read_tests
from flowai.evals.suites.loader import load_suites
from flowai.finetune.dedup.contamination import EvalText

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.evals.suites.records import Assertion
    from flowai.project import Project

_REFERENCES = frozenset({"equals", "similar", "levenshtein"})
"""Assertions whose value is a complete answer; others have fragments that any answer may contain."""

_TEXT_ENDINGS = (".txt", ".md")


def evaluation_texts(project: Project) -> Iterator[EvalText]:
    """Yield every text of every case: values of variables and expected answers, of suites and of unused datasets too.

    Raises ProjectError if a file cannot be read, because its leaks could not be found.
    """
    for suite in load_suites(project):
        for case in suite.cases:
            for text in (*_strings(case.vars), *_expected(case.assertions)):
                yield EvalText(suite=suite.path, id=case.id, text=text)
    for path in sorted(project.datasets.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(project.datasets).parts):
            yield from _texts_of_file(path, project)


def _texts_of_file(path: Path, project: Project) -> Iterator[EvalText]:
    name = project.show(path)
    if path.suffix.lower() in _TEXT_ENDINGS:
        yield EvalText(suite=name, id="", text=path.read_text(encoding="utf-8", errors="replace"))
        return
    if path.suffix.lower() not in SUFFIXES:
        raise DatasetError(
            f"`{name}` cannot be searched for leaks: found ending `{path.suffix}`",
            hint=f"supported: {', '.join((*SUFFIXES, *_TEXT_ENDINGS))}; move other files out of `datasets/`",
        )
    for number, (test, _) in enumerate(read_tests(path, project), start=1):
        for text in _strings(test.get("vars", {})):
            yield EvalText(suite=name, id=str(number), text=text)


def _expected(assertions: tuple[Assertion, ...]) -> Iterator[str]:
    for assertion in assertions:
        if assertion.type in _REFERENCES and not assertion.negated:
            yield from _strings(assertion.value)
        yield from _expected(assertion.children)


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _strings(inner)
