"""Sampling parameters of other tools by LiteLLM's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.evals.importers.records import Omission

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.importers.export_file import ExportFile
    from flowai.evals.importers.project_files import Row

_LITELLM_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "topP": "top_p",
    "max_tokens": "max_tokens",
    "maxTokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_completions_tokens": "max_tokens",
    "maxCompletionTokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "stop": "stop",
    "seed": "seed",
    "reasoning_effort": "reasoning_effort",
    "frequency_penalty": "frequency_penalty",
    "frequencyPenalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "presencePenalty": "presence_penalty",
}


def take_parameters(export: ExportFile, given: Any, key: str, omissions: list[Omission]) -> Row:  # noqa: ANN401 - any JSON value
    """Return the parameters that a prompt's `config` can have; the others become omissions."""
    values: Mapping[str, Any] = given if isinstance(given, dict) else {}
    present = {name: value for name, value in values.items() if value is not None}
    omissions.extend(
        Omission(file=export.name, key=f"{key}.{name}", reason="not a parameter of a prompt")
        for name in present
        if name not in _LITELLM_NAMES
    )
    return {_LITELLM_NAMES[name]: value for name, value in present.items() if name in _LITELLM_NAMES}
