"""The catalog resolves an endpoint as LiteLLM would: address, key and headers; or leaves it to LiteLLM."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from flowai.providers.catalog import CUSTOM, NO_KEY, ProviderCatalog
from flowai.providers.client import Endpoint, Request
from flowai.providers.litellm.adapter import import_litellm
from flowai.providers.openai.requests import chat_request

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
HELLO = {"role": "user", "content": "Hello"}
PROVIDERS = sorted(name for name in ProviderCatalog().data.providers if not name.endswith(CUSTOM))
HOSTED = [name for name in PROVIDERS if ProviderCatalog().data.providers[name].base_url]


@pytest.fixture(scope="module")
def probe() -> Iterator[Any]:
    import_litellm()  # with flowai's settings, as other tests of this process expect it
    sys.path.insert(0, str(ROOT / "docs"))
    probe = importlib.import_module("litellm_probe").LiteLLMProbe()
    yield probe
    probe._runner.close()


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for record in ProviderCatalog().data.providers.values():
        lists = (
            record.key_variables,
            record.base_url_variables,
            record.steering_variables,
            *record.header_variables.values(),
        )
        for variable in (name for names in lists for name in names):
            monkeypatch.delenv(variable, raising=False)


def endpoint(model: str, api_base: str | None = None, api_key: str | None = None) -> Endpoint:
    return Endpoint(name="m", model=model, provider="p", api_base=api_base, api_key=api_key)


def sent(at: Endpoint) -> tuple[str, dict[str, str]] | None:
    """Return address and headers of a plain chat."""
    provider = ProviderCatalog().direct(at)
    request = None if provider is None else chat_request(Request(endpoint=at, messages=(HELLO,)), provider)
    return None if request is None else (request.url, {name.lower(): value for name, value in request.headers})


def litellms(probe: Any, at: Endpoint) -> tuple[str, dict[str, str]] | None:
    request = probe.chat(at.model, [dict(HELLO)], base=at.api_base, api_key=at.api_key)
    return None if request is None else (request.url, request.headers)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTED)
def test_a_providers_own_address_and_headers_are_litellms(probe: Any, name: str) -> None:
    at = endpoint(f"{name}/xyz", api_key="k-1")
    assert sent(at) == litellms(probe, at)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTED)
def test_keys_and_addresses_of_the_environment_are_litellms(
    probe: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    record = ProviderCatalog().data.providers[name]
    at = endpoint(f"{name}/xyz")
    for variable in record.key_variables[::-1]:  # the one that is set last wins
        monkeypatch.setenv(variable, f"key-of-{variable}")
        if name != "openai" and variable == "OPENAI_API_KEY":  # LiteLLM would send it to another company
            assert sent(at) is None
        else:
            assert sent(at) == litellms(probe, at)
    for variable in record.base_url_variables[::-1]:
        monkeypatch.setenv(variable, f"http://127.0.0.1:9/{variable.lower()}/v1")
        assert sent(at) == litellms(probe, at)


def test_the_keys_of_an_endpoint_win_over_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-environment")
    assert sent(endpoint("openai/gpt-4o", api_key="own"))[1]["authorization"] == "Bearer own"  # type: ignore[index]
    assert sent(endpoint("openai/gpt-4o"))[1]["authorization"] == "Bearer of-environment"  # type: ignore[index]


def test_an_address_without_a_key_gets_no_providers_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-environment")
    url, headers = sent(endpoint("openai/llama", "http://127.0.0.1:9/v1")) or ("", {})
    assert url == "http://127.0.0.1:9/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {NO_KEY}"


def test_a_model_without_prefix_is_openais_if_litellm_lists_it() -> None:
    assert sent(endpoint("gpt-4o", api_key="k")) == sent(endpoint("openai/gpt-4o", api_key="k"))
    assert sent(endpoint("my-own-model", api_key="k")) is None


@pytest.mark.parametrize(
    "at",
    [
        endpoint("anthropic/claude-sonnet-4-5", api_key="k"),
        endpoint("azure/gpt-4o", "http://127.0.0.1:9/v1", "k"),
        endpoint("bedrock/x", api_key="k"),
        endpoint("nobody/x", api_key="k"),
        endpoint("openai/", api_key="k"),
        endpoint("openai/gpt-4o"),
        endpoint("openai/gpt-4o", api_key="two\nlines"),
        endpoint("openai/gpt-4o", api_key="schlüssel"),
        endpoint("openai/gpt-4o", "https://eu.api.openai.com/v1", "k"),
        endpoint("hosted_vllm/x", api_key="k"),
        *(
            endpoint("openai/x", url, "k")
            for url in (
                "ftp://h/v1",
                "http://h/v1?version=1",
                "http://h/v1#x",
                "http://user@h/v1",
                "http://h/v1/chat/completions",
                "http://h/v1//",
                "http://h/a b",
                "http://h/ü",
                "http://h:99999/v1",
                "h/v1",
                "",
            )
        ),
    ],
    ids=lambda at: f"{at.model} {at.api_base}",
)
def test_an_endpoint_that_is_not_known_for_certain_is_left_to_litellm(at: Endpoint) -> None:
    assert sent(at) is None


def test_a_variable_that_changes_litellms_requests_leaves_them_to_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_LITELLM_PROXY", "true")
    assert sent(endpoint("openai/gpt-4o", api_key="k")) is None


def test_keys_are_in_no_text_of_requests_and_providers() -> None:
    at = endpoint("openai/gpt-4o", api_key="sk-secret")
    provider = ProviderCatalog().direct(at)
    assert provider is not None
    request = chat_request(Request(endpoint=at, messages=(HELLO,)), provider)
    assert "sk-secret" not in f"{provider} {request}"


def test_the_data_file_is_consistent() -> None:
    data = ProviderCatalog().data
    for name, record in data.providers.items():
        for used in (record.family, *record.models):
            assert used == "litellm" or used in data.families, name
    for family_name, family in data.families.items():
        named = family.litellm | family.drop | frozenset().union(*family.conflicts)
        assert named <= data.features, family_name


def test_requests_need_neither_litellm_nor_openais_client() -> None:
    code = (
        "import sys; from flowai.providers.catalog import ProviderCatalog as C;"
        "from flowai.providers.client import Endpoint, Request;"
        "from flowai.providers.openai.requests import chat_request;"
        "e = Endpoint(name='m', model='openai/gpt-4o', provider='p', api_key='k');"
        "assert chat_request(Request(endpoint=e, messages=({'role': 'user', 'content': 'x'},)), C().direct(e));"
        "print([name for name in ('litellm', 'openai', 'httpx', 'aiohttp', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_body_is_json_without_spaces() -> None:
    at = endpoint("openai/gpt-4o", api_key="k")
    provider = ProviderCatalog().direct(at)
    assert provider is not None
    request = chat_request(Request(endpoint=at, messages=(HELLO,), params={"temperature": 0}), provider, stream=False)
    assert request is not None
    assert msgspec.json.decode(request.body) == {"model": "gpt-4o", "messages": [HELLO], "temperature": 0}
