"""Records of the gate: results by case, facts about cases, baselines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CaseKey = tuple[str, str]
"""Suite path and case id."""

GroupKey = tuple[str, str, str]
"""Suite path, prompt and model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseFacts:
    """Facts about a case that its trials do not contain."""

    is_critical: bool = False
    slices: tuple[str, ...] = ()
    """Names of the slices that the gate checks and the case belongs to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseIdentity:
    """Request, model and answering system of a case; None for what is not known."""

    called_model: str | None = None
    """LiteLLM's name."""
    served_model: str | None = None
    """The name that the provider reported."""
    fingerprint: str | None = None
    """The provider's id of its configuration."""
    prompt_hash: str | None = None
    request_hash: str | None = None
    """Of model, messages and parameters."""
    case_hash: str | None = None
    """Of variables and assertions."""


NO_IDENTITY = CaseIdentity()


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseResult:
    """Judged trials of one case on one prompt and model."""

    suite: str
    case: str
    prompt: str
    model: str
    first: tuple[float, ...] = ()
    """1 for each passed and 0 for each failed trial of the plan, in order."""
    again: tuple[float, ...] = ()
    """The same of trials that were run because the case failed."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Mean score by metric over all its trials."""
    verdicts: Mapping[str, float] = field(default_factory=dict)
    """Share of passed verdicts by metric; of the metrics that a calibrated judge scores alone."""
    identity: CaseIdentity = NO_IDENTITY
    """Of its first judged trial."""

    @property
    def group(self) -> GroupKey:
        """Suite, prompt and model."""
        return self.suite, self.prompt, self.model

    @property
    def values(self) -> tuple[float, ...]:
        """All judged trials."""
        return self.first + self.again


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """Earlier results by case."""

    name: str
    """Its source, for people."""
    results: tuple[CaseResult, ...]
    replaces: Mapping[GroupKey, tuple[str, str]] = field(default_factory=dict)
    """Prompt and model of the baseline for each group of the run; a group that is missing is looked up by itself."""

    def find(self, suite: str, prompt: str, model: str) -> dict[str, CaseResult]:
        """Return the results to compare a group of the run with, by case.

        Those of the same prompt and model; else of the same model, of the same prompt, or of all, if they are of one
        prompt and model only.
        """
        own = [result for result in self.results if result.suite == suite]
        prompt, model = self.replaces.get((suite, prompt, model), (prompt, model))
        for chosen in (
            [result for result in own if (result.prompt, result.model) == (prompt, model)],
            [result for result in own if result.model == model],
            [result for result in own if result.prompt == prompt],
            own,
        ):
            if chosen and len({result.group for result in chosen}) == 1:
                return {result.case: result for result in chosen}
        return {}
