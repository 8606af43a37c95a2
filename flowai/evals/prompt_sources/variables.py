"""Variables of a case before its prompt is rendered: code is run, references between variables are replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.errors import Place, SuiteError
from flowai.evals.templates import resolve_references

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.code.runner import SubprocessCodeRunner
    from flowai.evals.suites.records import Case, SuitePrompt


def resolve_variables_now(variables: Mapping[str, Any], *, renders: bool = True) -> dict[str, Any]:
    """Return the variables of a case without code of its own.

    Args:
        variables: the case's.
        renders: whether references in texts are replaced (`Suite.renders_variables`).
    """
    return resolve_references(variables) if renders else dict(variables)


async def resolve_variables(
    case: Case,
    variables: Mapping[str, Any],
    *,
    prompt: SuitePrompt | None = None,
    code: SubprocessCodeRunner | None = None,
    renders: bool = True,
) -> dict[str, Any]:
    """Return the variables of a case, those that code computes included.

    Args:
        case: the case.
        variables: its variables, and those that earlier cases stored.
        prompt: the prompt, which the code gets as a template.
        code: runs code.
        renders: whether references in texts are replaced (`Suite.renders_variables`).

    Raises:
        CodeError: the code gave no text.
        SuiteError: no code may be run.
    """
    found = dict(variables)
    template = prompt.template if prompt is not None else ""
    for name, reference in case.dynamic_vars.items():
        if code is None:
            raise case_error(case, f"variable `{name}` is computed by code", hint="run it without --no-code")
        from flowai.evals.code.sources import call_variable_function  # not needed for variables that are written

        found[name] = await call_variable_function(code, reference, name, template, found)
    return resolve_variables_now(found, renders=renders)


def case_error(case: Case, what: str, *, hint: str | None = None) -> SuiteError:
    """Return an error about a case."""
    file, _, line = case.place.rpartition(":")
    place = Place(file=file, line=int(line)) if line.isdecimal() else None
    return SuiteError(f"case `{case.id}`: {what}", place=place, hint=hint)
