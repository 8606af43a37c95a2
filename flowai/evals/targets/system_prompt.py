"""The system message that a provider's `config` adds to a prompt that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.evals.provider_names.settings import system_prompt_of

if TYPE_CHECKING:
    from flowai.evals.suites.records import SuiteProvider
    from flowai.evals.targets.records import TargetRequest


def with_system_prompt(request: TargetRequest, provider: SuiteProvider) -> TargetRequest:
    """Return a request with the system message of the provider's `config`, unless the prompt has one."""
    system = system_prompt_of(provider.config)
    if system is None or any(message.get("role") in {"system", "developer"} for message in request.messages):
        return request
    return msgspec.structs.replace(request, messages=({"role": "system", "content": system}, *request.messages))
