"""Requests to the targets of a suite, and their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.client import Completion, Request

if TYPE_CHECKING:
    from flowai.evals.suites.records import SuiteProvider


class TargetRequest(Request, frozen=True, kw_only=True):
    """A request of a case to a target; a model's client ignores what it adds."""

    provider: SuiteProvider | None = None
    """The suite's own target; None for a model of the registry."""
    variables: dict[str, Any] = msgspec.field(default_factory=dict)
    """Variables of the case."""
    prompt: str = ""
    """The rendered prompt as a text: one message's text, or the messages as JSON."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    """Metadata of the case."""
    folder: str = ""
    """Absolute path of the suite's folder, in which scripts run."""
    env: dict[str, str] = msgspec.field(default_factory=dict)
    """The suite's variables for templates and scripts."""

    def own_parts(self) -> tuple[Any, ...]:
        """Return what a target that is no model answers by; see `Request.own_parts`."""
        provider = self.provider
        if provider is None or provider.kind == "model":
            return ()
        return (provider.id, provider.config, self.prompt, self.variables)


class TargetCompletion(Completion, frozen=True, kw_only=True):
    """An answer of a target that is no model, or that was transformed."""

    output: Any = None
    """Value of the answer, if it is no text; None if `text` is the value."""
    refusal: str | None = None
    guardrails: dict[str, Any] | None = None
    """`flagged`, `flaggedInput`, `flaggedOutput`, `reason`."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    """The target's own fields."""
