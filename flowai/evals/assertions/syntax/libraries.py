"""Imports the libraries of single assertion types, which the extra `metrics` installs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from flowai.evals.assertions.records import suite_error

if TYPE_CHECKING:
    from types import ModuleType

    from flowai.evals.suites.records import Assertion


def import_library(module: str, assertion: Assertion) -> ModuleType:
    """Import a module, or raise SuiteError with the command that installs it."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        package = module.partition(".")[0]
        raise suite_error(
            assertion,
            f"needs the package `{package}`, which is not installed",
            hint="run: pip install 'flowai[metrics]'",
        ) from None
