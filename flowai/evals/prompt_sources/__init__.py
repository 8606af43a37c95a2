"""Rendering of prompts that a suite brings along."""

from flowai.evals.prompt_sources.prompt_hash import prompt_hash
from flowai.evals.prompt_sources.records import RenderedSuitePrompt
from flowai.evals.prompt_sources.render import render_prompt, render_prompt_now
from flowai.evals.prompt_sources.variables import resolve_variables, resolve_variables_now

__all__ = [
    "RenderedSuitePrompt",
    "prompt_hash",
    "render_prompt",
    "render_prompt_now",
    "resolve_variables",
    "resolve_variables_now",
]
