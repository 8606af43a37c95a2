"""Renders the templates that a suite writes itself, for checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.errors import SuiteError
from flowai.evals.templates import TemplateError, render

if TYPE_CHECKING:
    from collections.abc import Mapping


class SuiteTemplates:
    """Renders templates with the variables of a suite's environment; a `TemplateRenderer`."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """Return the rendered text.

        Raises:
            SuiteError: the template is wrong.
        """
        try:
            return render(template, variables, env=self._env)
        except TemplateError as error:
            hint = "to keep braces as they are, use {% raw %}...{% endraw %}"
            raise SuiteError(f"template `{template[:60]}`: {error.what}", hint=hint) from None
