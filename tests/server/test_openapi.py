"""The OpenAPI document is true: schemathesis asks every endpoint what the document allows, and what it forbids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from support.scripted_gateway import ScriptedGateway, ServedGateway, served

from flowai.server.openapi import openapi_document

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = openapi_document()
OPERATIONS = [
    (path, method, mode)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    for mode in GenerationMode
    if mode == GenerationMode.POSITIVE or "parameters" in operation  # without any, nothing can be wrong
]


@pytest.fixture(scope="module")
def server() -> Iterator[ServedGateway]:
    with served(ScriptedGateway()) as made:
        yield made


@pytest.fixture(scope="module")
def api() -> Any:
    return schemathesis.openapi.from_dict(DOCUMENT)


def test_the_document_is_served(server: ServedGateway) -> None:
    assert server.http.get("/openapi.json").json() == DOCUMENT


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_every_endpoint_follows_the_document(
    api: Any, server: ServedGateway, path: str, method: str, mode: GenerationMode
) -> None:
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        body = case.body
        if isinstance(body, dict) and isinstance(body.get("model"), str) and 0 < len(body["model"]) <= 256:
            body["model"] = "m" if path == "/v1/embeddings" else "chat"  # or all it would hear is 404
        if mode == GenerationMode.POSITIVE and "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = uuid4().hex  # that keys are new with each request, no schema can say
        case.call_and_validate(base_url=server.address)

    ask()
