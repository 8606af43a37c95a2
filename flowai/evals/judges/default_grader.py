"""Choice of the model that grades where a suite names none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import SuiteError
from flowai.evals.suites.records import SuiteProvider
from flowai.registry import binding, features_of
from flowai.registry.keys import USUAL_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.registry import Registry

JUDGE_FEATURE = "judge"
"""Feature of the registry whose model grades."""
DEFAULT_GRADERS = (
    "openai/gpt-5.4-mini",
    "anthropic/claude-haiku-5-5",
    "gemini/gemini-3.8-flash",
    "mistral/mistral-small-latest",
)
"""Models that grade if their provider's key is set, the first first."""
DEFAULT_EMBEDDER = "openai/text-embedding-3-small"
NO_GRADER_HINT = (
    "set `defaultTest.options.provider`, or bind a feature `judge` in registry.yaml, or set OPENAI_API_KEY, "
    "ANTHROPIC_API_KEY, GEMINI_API_KEY or MISTRAL_API_KEY"
)
DEFAULT_MODERATOR = "openai/omni-moderation-latest"


def default_grader(registry: Registry, release: str | None, environ: Mapping[str, str]) -> SuiteProvider | None:
    """Return the model of the feature `judge`, else the first of DEFAULT_GRADERS with a key; None without any.

    A directory without a registry has no release: None, or empty.
    """
    if release and JUDGE_FEATURE in features_of(registry, release):
        bound = binding(registry, release, JUDGE_FEATURE)
        return SuiteProvider(
            id=bound.model, name=bound.model, kind="model", model=bound.model, params=dict(bound.params)
        )
    return next((_model(name) for name in DEFAULT_GRADERS if _has_key(name, environ)), None)


def chosen_grader(grader: SuiteProvider | None, default: SuiteProvider | None) -> SuiteProvider:
    """Return the grader, else the default.

    Raises:
        SuiteError: there is neither.
    """
    chosen = grader or default
    if chosen is None:
        raise SuiteError("needs a model that grades", hint=NO_GRADER_HINT)
    return chosen


def default_embedder(environ: Mapping[str, str]) -> SuiteProvider | None:
    """Return the model that embeds if its provider's key is set, else None."""
    return _model(DEFAULT_EMBEDDER) if _has_key(DEFAULT_EMBEDDER, environ) else None


def default_moderator(environ: Mapping[str, str]) -> SuiteProvider | None:
    """Return the model that moderates if its provider's key is set, else None."""
    return _model(DEFAULT_MODERATOR) if _has_key(DEFAULT_MODERATOR, environ) else None


def _model(name: str) -> SuiteProvider:
    return SuiteProvider(id=name, name=name, kind="model", model=name)


def _has_key(model: str, environ: Mapping[str, str]) -> bool:
    return any(environ.get(variable) for variable in USUAL_VARIABLES[model.partition("/")[0]])
