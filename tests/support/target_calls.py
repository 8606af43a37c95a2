"""Calls of a suite's targets through a real client."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from flowai.evals.suites.provider_names import provider_of
from flowai.evals.targets.client import TargetsClient
from flowai.evals.targets.records import TargetCompletion, TargetRequest
from flowai.providers.client import Completion, Endpoint, Request
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flowai.evals.suites.records import SuiteProvider

ENDPOINT = Endpoint(name="target", model="target", provider="target")
_REFERENCE = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


def render(source: str, variables: Mapping[str, Any], *, env: Mapping[str, str] | None = None) -> str:
    """Replace references to variables; the client is told how to render."""
    values = {**variables, "env": dict(env or {})}

    def value(match: re.Match[str]) -> str:
        found: Any = values
        for name in match[1].split("."):
            found = found.get(name, "") if isinstance(found, dict) else ""
        return str(found)

    return _REFERENCE.sub(value, source)


class ModelClient:
    """Client of models that answers with what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        self.requests.append(request)
        return Completion(
            text="a model's answer", model="m", served_model="m", provider="p", finish_reason="stop", input_tokens=1,
            output_tokens=2, cost_usd=0.5, latency_ms=1, ttft_ms=None,
        )  # fmt: skip

    async def aclose(self) -> None:
        pass


class Targets:
    """Targets of a suite in a folder.

    Args:
        folder: the suite's folder.
        secrets: texts that errors must not show.
    """

    def __init__(self, folder: Path, *, secrets: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self.printed: list[str] = []
        self.models = ModelClient()
        self._secrets = secrets

    def provider(self, name: str, config: dict[str, Any] | None = None, **fields: Any) -> SuiteProvider:
        """Return a provider of the suite."""
        return replace(provider_of({"id": name, "config": config}, folder=self.folder, place="suite.yaml:1"), **fields)

    def ask(
        self,
        provider: SuiteProvider,
        prompt: str = "Hello",
        *,
        variables: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> TargetCompletion:
        """Send one request and return the answer."""
        request = TargetRequest(
            endpoint=ENDPOINT, messages=({"role": "user", "content": prompt},), provider=provider, prompt=prompt,
            variables=variables or {}, env=env or {}, folder=str(self.folder), total_timeout_s=timeout_s,
        )  # fmt: skip

        async def whole() -> Any:
            client = TargetsClient(
                self.models,  # type: ignore[arg-type] # it streams and embeds nothing
                render=render,
                redactor=Redactor(self._secrets),
                on_printed=lambda _code, text: self.printed.append(text),
            )
            try:
                return await client.complete(request)
            finally:
                await client.aclose()

        answer = asyncio.run(whole())
        assert isinstance(answer, Completion)
        return answer  # type: ignore[return-value] # models answer without the fields of targets
