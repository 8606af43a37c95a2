"""Makes the request of a call: a rendered prompt, a model and parameters, in LiteLLM's terms.

In: a prompt and its values, an endpoint, a release's parameters, the feature's limits. Out: a Request. Must never know
who sends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.calls import Request
from flowai.prompts import openai_messages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.calls import Endpoint
    from flowai.prompts import Prompt
    from flowai.registry import Feature


def make_request(
    prompt: Prompt,
    values: Mapping[str, Any],
    endpoint: Endpoint,
    *,
    params: Mapping[str, Any],
    feature: Feature | None,
) -> Request:
    """Render a prompt and make the request of it.

    Args:
        prompt: the prompt.
        values: its variables; others are an error.
        endpoint: whom to ask.
        params: what the release says about sampling; it wins over the prompt's own `config`.
        feature: its budget gives `max_tokens` where neither says it, its timeout limits the call; None for neither.

    Raises:
        PromptError: a variable is missing, unknown, of the wrong type, or refused by the prompt's policy.
    """
    rendered = prompt.render(values)
    merged = {**prompt.config, **params}
    limits: dict[str, Any] = {}
    if feature is not None:
        if feature.budget.completion_tokens is not None:
            merged.setdefault("max_tokens", feature.budget.completion_tokens)
        limits = {
            "first_token_timeout_s": feature.timeout.first_token_s,
            "total_timeout_s": feature.timeout.total_s,
        }
    return Request(
        endpoint=endpoint,
        messages=tuple(openai_messages(rendered.messages)),
        params=merged,
        response_schema=prompt.output_schema,
        **limits,
    )
