"""Records of `doctor`."""

from __future__ import annotations

from typing import Literal

import msgspec

from flowai.errors import ExitCode

SCHEMA_VERSION = 1

Status = Literal["ok", "warning", "error", "skipped"]
"""`skipped`: not checked, for the reason in the text."""
Cause = Literal["project", "infrastructure"]
"""`project`: a file of the project or the installation is wrong. `infrastructure`: this machine or a service fails."""


class CheckFinding(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a check, or one of several."""

    check: str
    """Name of the check."""
    status: Status
    text: str
    hint: str | None = None
    """Remedy of a warning or an error."""
    cause: Cause = "project"


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All findings, in the order of the checks."""

    schema_version: int = SCHEMA_VERSION
    findings: tuple[CheckFinding, ...]

    def count(self, status: Status) -> int:
        """Return the number of findings with a status."""
        return sum(finding.status == status for finding in self.findings)

    @property
    def exit_code(self) -> ExitCode:
        """Exit status: wrong files outrank a failing service, which a later run may find repaired."""
        causes = {finding.cause for finding in self.findings if finding.status == "error"}
        if "project" in causes:
            return ExitCode.PROJECT
        return ExitCode.INFRASTRUCTURE if causes else ExitCode.DONE


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A finding without the name of its check, which the caller adds."""

    status: Status
    text: str
    hint: str | None = None
    cause: Cause = "project"


def ok(text: str) -> Result:
    """Return that nothing is wrong."""
    return Result(status="ok", text=text)


def warning(text: str, hint: str | None = None) -> Result:
    """Return a risk."""
    return Result(status="warning", text=text, hint=hint)


def error(text: str, hint: str | None = None, *, cause: Cause = "project") -> Result:
    """Return a fault."""
    return Result(status="error", text=text, hint=hint, cause=cause)


def skipped(text: str) -> Result:
    """Return that something was not checked, and why."""
    return Result(status="skipped", text=text)
