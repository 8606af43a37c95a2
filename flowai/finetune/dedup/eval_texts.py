"""Texts of the suites and datasets of a project, so that no training set contains an evaluation case."""

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
"""Assertions whose value is an answer, whole; others hold fragments that any answer may hold."""

_TEXT_ENDINGS = (".txt", ".md")


def evaluation_texts(project: Project) -> Iterator[EvalText]:
    """Give every text of every case: values of variables and expected answers, of suites and of tables by themselves.

    Raises:
        ProjectError: a suite or a dataset cannot be read: nothing could be said of its leaks.
    """
    for suite in load_suites(project):
        for case in suite.cases:
            for text in (*_strings(case.vars), *_expected(case.assertions)):
                yield EvalText(suite=suite.path, id=case.id, text=text)
    for path in sorted(project.datasets.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(project.datasets).parts):
            yield from _of_file(path, project)


def _of_file(path: Path, project: Project) -> Iterator[EvalText]:
    name = project.show(path)
    if path.suffix.lower() in _TEXT_ENDINGS:
        yield EvalText(suite=name, id="", text=path.read_text(encoding="utf-8", errors="replace"))
        return
    if path.suffix.lower() not in SUFFIXES:
        raise DatasetError(
            f"`{name}` cannot be looked through for leaks: found ending `{path.suffix}`",
            hint=f"these can be read: {', '.join((*SUFFIXES, *_TEXT_ENDINGS))}; move other files out of `datasets/`",
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
