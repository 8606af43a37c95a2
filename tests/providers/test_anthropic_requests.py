"""Requests to Anthropic are those of the installed LiteLLM, byte for byte of what matters, or LiteLLM sends them."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import pytest
from support.anthropic_samples import (
    CITY,
    EVERYDAY,
    HELLO,
    KEY,
    PDF,
    REPLY,
    SYSTEM,
    TOOLS,
    Sample,
    call,
    calls,
    image,
    random_sample,
    result,
    schema_format,
    single_samples,
    text,
    tool,
    user,
)
from support.scripted_provider import Reply, ScriptedProvider

from flowai.errors import CallError
from flowai.providers import Endpoint, PriceTable, Request
from flowai.providers.anthropic.models import ModelCatalog
from flowai.providers.anthropic.requests import messages_request
from flowai.providers.litellm.client import LiteLLMClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.scripted_replies import Asked

    from flowai.providers.wire import WireRequest


def price_rows() -> dict[str, Any]:
    """Return LiteLLM's price table."""
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    table = Path(spec.origin).with_name("model_prices_and_context_window_backup.json")
    rows: dict[str, Any] = json.loads(table.read_text())
    return rows


MODELS = ModelCatalog(PriceTable())
NAMES = tuple(name for name in price_rows() if MODELS.abilities(f"anthropic/{name}"))
FAMILIES = ("claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-6", "claude-opus-4-7", "claude-mythos-5-1")
"""Models whose requests differ in every way: number or effort of thinking, sampling, forced tools."""
RANDOM_COUNT = 12
UNSENT = Reply(status=400, body=b'{"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}')
CONNECTION_HEADERS = frozenset({"host", "user-agent", "content-length", "accept-encoding", "connection"})


class Pair(NamedTuple):
    """A request, flowai's version of it, and LiteLLM's; None for one that is not sent."""

    request: Request
    ours: WireRequest | None
    theirs: Asked | None

    def difference(self) -> str | None:
        """Return what differs; None for nothing, and for requests that LiteLLM must build."""
        if self.ours is None:
            return None
        if self.theirs is None:
            return f"LiteLLM refuses {self.request.params}"
        headers = {name: value for name, value in self.theirs.headers.items() if name not in CONNECTION_HEADERS}
        theirs = (self.theirs.path, headers, self.theirs.body)
        ours = (urlsplit(self.ours.url).path, dict(self.ours.headers), json.loads(self.ours.body))
        return None if ours == theirs else f"{self.request.endpoint.model}\n{ours}\n{theirs}"


async def send(requests: Sequence[Request], provider: ScriptedProvider) -> list[Asked | None]:
    """Send requests through LiteLLM, and return what came over the socket."""
    client = LiteLLMClient(shared_process=False)
    sent: list[Asked | None] = []
    try:
        for request in requests:
            count = len(provider.asked)
            with pytest.raises(CallError):
                await client.complete(request)
            sent.append(provider.asked[count] if len(provider.asked) > count else None)
    finally:
        await client.aclose()
    return sent


def compare(samples: Sequence[Sample], **fields: Any) -> list[Pair]:
    with ScriptedProvider(UNSENT) as provider:
        requests = [sample.request(provider.base_url.removesuffix("/v1"), **fields) for sample in samples]
        theirs = asyncio.run(send(requests, provider))
    pairs = zip(requests, theirs, strict=True)
    return [Pair(request, messages_request(request, MODELS), asked) for request, asked in pairs]


def differences(pairs: Sequence[Pair]) -> list[str]:
    return [difference for pair in pairs if (difference := pair.difference())]


@pytest.mark.parametrize("name", FAMILIES)
def test_each_feature_is_sent_as_litellm_sends_it(name: str) -> None:
    pairs = compare(list(single_samples(name)))
    assert differences(pairs) == []
    assert sum(pair.ours is not None for pair in pairs) >= 60
    unsent = [pair for pair in pairs if pair.ours is None and pair.theirs is not None]
    assert len(unsent) <= 2  # all others of LiteLLM's errors


def test_features_together_are_sent_as_litellm_sends_them() -> None:
    rng = random.Random(12)  # noqa: S311 - samples
    samples = [random_sample(name, rng) for name in NAMES for _ in range(RANDOM_COUNT)]
    pairs = compare(samples)
    assert differences(pairs) == []
    assert sum(pair.ours is not None for pair in pairs) >= 100


def test_everyday_requests_of_every_model_are_sent_without_litellm() -> None:
    pairs = compare([Sample(name, messages, params) for name in NAMES for messages, params in EVERYDAY])
    assert len(NAMES) >= 20
    assert all(pair.ours is not None for pair in pairs)
    assert differences(pairs) == []


def test_flowai_s_own_schema_is_sent_as_litellm_sends_it() -> None:
    pairs = compare([Sample(FAMILIES[0], [HELLO], {})], response_schema=CITY)
    assert pairs[0].ours is not None
    assert b"output_format" in pairs[0].ours.body
    assert differences(pairs) == []


@pytest.mark.parametrize("ending", ["/v1/messages", "/proxy", "/"])
def test_an_address_is_completed_as_litellm_completes_it(ending: str) -> None:
    with ScriptedProvider(UNSENT) as provider:
        request = Sample(FAMILIES[0], [HELLO], {}).request(provider.base_url.removesuffix("/v1") + ending)
        (theirs,) = asyncio.run(send([request], provider))
    assert Pair(request, messages_request(request, MODELS), theirs).difference() is None


@pytest.mark.parametrize("variable", ["ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"])
def test_address_and_key_of_the_environment_are_litellm_s(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedProvider(UNSENT) as provider:
        monkeypatch.setenv(variable, provider.base_url.removesuffix("/v1"))
        monkeypatch.setenv("ANTHROPIC_API_KEY", "from-environment")
        sample = Sample(FAMILIES[0], [HELLO], {}).request(None)
        request = msgspec.structs.replace(sample, endpoint=msgspec.structs.replace(sample.endpoint, api_key=None))
        (theirs,) = asyncio.run(send([request], provider))
    pair = Pair(request, messages_request(request, MODELS), theirs)
    assert pair.difference() is None
    assert pair.ours is not None
    assert ("x-api-key", "from-environment") in pair.ours.headers


NAMED = Endpoint(name="m", model="anthropic/claude-haiku-4-5", provider="anthropic", api_key=KEY)


def test_an_address_of_its_own_never_gets_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "from-environment")
    endpoint = msgspec.structs.replace(NAMED, api_key=None, api_base="http://proxy.example")
    wire = messages_request(Request(endpoint=endpoint, messages=(HELLO,)), MODELS)
    assert wire is not None
    assert ("x-api-key", "none") in wire.headers
    assert "none" not in repr(wire)


@pytest.mark.parametrize(
    "endpoint",
    [
        {"api_key": None},
        {"api_key": "sk-ant-oat01-login"},
        {"api_key": " spaced "},
        {"model": "anthropic/claude-new-9"},
        {"model": "openai/gpt-4o-mini"},
        {"model": "anthropic/gpt-4o-mini"},
        {"model": "claude-haiku-4-5"},
    ],
)
def test_unknown_models_and_keys_are_litellm_s(endpoint: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    request = Request(endpoint=msgspec.structs.replace(NAMED, **endpoint), messages=(HELLO,))
    assert messages_request(request, MODELS) is None


@pytest.mark.parametrize("name", ["DEFAULT_MAX_TOKENS", "LITELLM_ANTHROPIC_DISABLE_URL_SUFFIX"])
def test_variables_that_change_litellm_s_requests_leave_them_to_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert messages_request(Request(endpoint=NAMED, messages=(HELLO,)), MODELS) is None


UNPROVEN_MESSAGES: dict[str, list[dict[str, Any]]] = {
    "a system message within": [HELLO, SYSTEM],
    "no user": [SYSTEM],
    "no messages": [],
    "an image to fetch": [user(image("http://pictures.example/a.png"))],
    "an image of another form": [user(image("data:image/png,abc"))],
    "an image without an address": [user({"type": "image_url", "image_url": {}})],
    "an uploaded file": [user({"type": "file", "file": {"file_id": "file-1"}})],
    "audio": [user({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}})],
    "an unknown part": [user({"type": "document", "source": {}})],
    "a part that is no object": [{"role": "user", "content": ["hi"]}],
    "an unknown role": [{"role": "function", "name": "f", "content": "x"}],
    "no role": [{"content": "x"}],
    "no content": [{"role": "user"}],
    "an empty user": [{"role": "user", "content": []}],
    "an empty assistant": [HELLO, {"role": "assistant", "content": None}],
    "fields of LiteLLM": [HELLO, {**REPLY, "provider_specific_fields": {"compaction_blocks": []}}],
    "a prefix": [HELLO, {**REPLY, "prefix": True}],
    "an old function call": [HELLO, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}],
    "broken arguments": [HELLO, calls(call(arguments='{"a": ')), result()],
    "a call of the server": [HELLO, calls(call("srvtoolu_1"))],
    "a call without an id": [HELLO, calls(call(""))],
    "a result without an id": [HELLO, calls(call()), {"role": "tool", "content": "x"}],
    "a result without content": [HELLO, calls(call()), result(None)],
    "unsigned thinking": [HELLO, {**REPLY, "thinking_blocks": [{"type": "thinking", "thinking": "x"}]}],
    "foreign thinking": [HELLO, {**REPLY, "thinking_blocks": [{"type": "redacted_thinking", "data": "litellm_x"}]}],
    "no cache control": [{**HELLO, "cache_control": "ephemeral"}],
    "half a character": [{"role": "user", "content": "\ud83d"}],
}


@pytest.mark.parametrize("name", UNPROVEN_MESSAGES)
def test_messages_that_are_not_proven_are_litellm_s(name: str) -> None:
    request = Request(endpoint=NAMED, messages=tuple(UNPROVEN_MESSAGES[name]), params=TOOLS)
    assert messages_request(request, MODELS) is None


CIRCULAR = {
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/A"}},
    "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}},
}
BOMB = {
    "$ref": "#/$defs/A0",
    "$defs": {f"A{n}": {"anyOf": [{"$ref": f"#/$defs/A{n + 1}"}] * 9} for n in range(9)} | {"A9": {}},
}
UNPROVEN_PARAMETERS: list[dict[str, Any]] = [
    {"seed": 1},
    {"n": 2},
    {"extra_headers": {"anthropic-beta": "x"}},
    {"extra_body": {"x": 1}},
    {"metadata": {"user_id": "x"}},
    {"drop_params": True},
    {"max_tokens": 5, "max_completion_tokens": 6},
    {"max_tokens": 5.5},
    {"max_tokens": True},
    {"temperature": "1"},
    {"temperature": float("nan")},
    {"stop": []},
    {"stop": ["1", "2", "3", "4", "5"]},
    {"stop": [1]},
    {"user": 7},
    {"cache_control": True},
    {"tools": []},
    {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    {"tools": [{"type": "function", "function": {"name": "a.b"}}]},
    {"tools": [{"type": "function", "function": {"name": "x"}, "defer_loading": True}]},
    {"tools": [tool({"definitions": {}})]},
    {**TOOLS, "tool_choice": "any"},
    {**TOOLS, "tool_choice": {"type": "function"}},
    {**TOOLS, "parallel_tool_calls": "no"},
    {"web_search_options": {}},
    {"thinking": True},
    {"thinking": {"type": "enabled"}},
    {"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "updates"}},
    {"thinking": {"type": "adaptive"}},
    {"thinking": {"type": "enabled", "budget_tokens": 2000}, "reasoning_effort": "low"},
    {"reasoning_effort": "enormous"},
    {"reasoning_effort": {"effort": "low"}},
    {"response_format": schema_format(CIRCULAR)},
    {"response_format": schema_format(BOMB)},
    {"response_format": schema_format({"$ref": "#/$defs/Missing"})},
    {"response_format": schema_format({"properties": {"a": {"$defs": {}}}})},
    {"response_format": {}},
    {"response_format": {"type": "json_schema"}},
    {"response_format": {"type": "json_object", "response_schema": CITY}},
    {"stop": object()},
    {"top_k": 10**400},
]


@pytest.mark.parametrize("params", UNPROVEN_PARAMETERS, ids=lambda params: next(iter(params)))
def test_parameters_that_are_not_proven_are_litellm_s(params: dict[str, Any]) -> None:
    assert messages_request(Request(endpoint=NAMED, messages=(HELLO,), params=params), MODELS) is None


def test_tool_calls_without_tools_are_litellm_s() -> None:
    assert messages_request(Request(endpoint=NAMED, messages=(HELLO, calls(call()), result())), MODELS) is None


def test_what_the_caller_gave_is_not_changed() -> None:
    messages: list[dict[str, Any]] = [
        HELLO,
        {"role": "assistant", "content": [text("Pre ")]},
        user(text("x", cache_control={"a": 1}), image(PDF)),
    ]
    request = Request(endpoint=NAMED, messages=tuple(messages), params={"tools": [tool()], "reasoning_effort": "low"})
    before = json.dumps([messages, request.params])
    messages_request(request, MODELS)
    assert json.dumps([messages, request.params]) == before


def test_no_other_client_is_imported() -> None:
    script = (
        "import sys\nfrom flowai.providers import Endpoint, PriceTable, Request\n"
        "from flowai.providers.anthropic.models import ModelCatalog\n"
        "from flowai.providers.anthropic.requests import messages_request\n"
        "endpoint = Endpoint(name='m', model='anthropic/claude-haiku-4-5', provider='anthropic', api_key='k')\n"
        "request = Request(endpoint=endpoint, messages=({'role': 'user', 'content': 'hi'},))\n"
        "assert messages_request(request, ModelCatalog(PriceTable()))\n"
        "sys.exit(bool({'litellm', 'openai', 'anthropic', 'httpx', 'pydantic'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
