"""Runs every check; one that fails unexpectedly is a finding, and the others run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.diagnosis.checks import files, machine, models, services
from flowai.diagnosis.inspection import Inspection, UnreadableError
from flowai.diagnosis.records import CheckFinding, Diagnosis, Result, error, skipped, warning
from flowai.errors import ExitCode, FlowaiError, describe_error
from flowai.registry import environment_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from flowai.workspace.workspace import CommandContext

_CHECKS: Mapping[str, Callable[[Inspection], Iterator[Result]]] = {
    "python": machine.check_python,
    "registry": files.check_registry,
    "schema": files.check_schema,
    "extras": machine.check_extras,
    ".env": files.check_dotenv,
    "prompts": files.check_prompts,
    "lock": files.check_lock,
    "suites": files.check_suites,
    "keys": models.check_keys,
    "end dates": models.check_end_dates,
    "fallbacks": models.check_fallbacks,
    "spare models": models.check_spare_models,
    "budgets": models.check_budgets,
    "providers": models.check_providers,
    "state": services.check_state,
    "clock": services.check_clock,
    "disk": machine.check_disk,
    "events": services.check_events,
    "releases": services.check_releases,
    "flags": services.check_flags,
}
CHECK_NAMES = tuple(_CHECKS)
_DEFAULT_HINT = "fix what is named, then run `flowai doctor` again"
_WITHOUT_PROJECT = frozenset({"python", "registry", "extras"})
"""Checks that run where there is no project; that of the registry tells how to create one."""


def diagnose(context: CommandContext, *, is_live: bool = False) -> Diagnosis:
    """Run every check.

    Args:
        context: directory, user, variables and clocks.
        is_live: whether to ask the providers.

    Raises:
        UsageError: the project has no such environment.
    """
    inspection = Inspection(context=context, is_live=is_live)
    has_project = _has_project(inspection)
    if has_project:
        environment_file(inspection.project, context.env)
    findings: list[CheckFinding] = []
    for name, check in _CHECKS.items():
        if not has_project and name not in _WITHOUT_PROJECT:
            findings.append(_named(name, skipped("there is no project"), inspection))
            continue
        results = list(_run(check, inspection))
        findings += [_named(name, result, inspection) for result in results]
    return Diagnosis(findings=tuple(findings))


def _has_project(inspection: Inspection) -> bool:
    try:
        return inspection.project is not None
    except FlowaiError:
        return False


def _run(check: Callable[[Inspection], Iterator[Result]], inspection: Inspection) -> Iterator[Result]:
    try:
        yield from check(inspection)
    except UnreadableError as problem:
        yield skipped(f"not checked: {problem}")
    except FlowaiError as problem:
        is_service = problem.exit_code == ExitCode.INFRASTRUCTURE
        yield error(str(problem), problem.hint, cause="infrastructure" if is_service else "project")
    except Exception as problem:  # noqa: BLE001 - the edge of a check: what breaks one must not hide the others
        yield warning(
            f"could not be checked: {describe_error(problem)}", "look at the files that the check names by hand"
        )


def _named(name: str, result: Result, inspection: Inspection) -> CheckFinding:
    """Return a result under the name of its check, without secrets."""
    hint = result.hint or (_DEFAULT_HINT if result.status in {"warning", "error"} else None)
    return CheckFinding(
        check=name,
        status=result.status,
        text=_redacted(inspection, result.text),
        hint=None if hint is None else _redacted(inspection, hint),
        cause=result.cause,
    )


def _redacted(inspection: Inspection, text: str) -> str:
    try:
        return inspection.redactor.text(text)
    except (FlowaiError, UnreadableError):
        from flowai.redaction import redact

        return redact(text)
