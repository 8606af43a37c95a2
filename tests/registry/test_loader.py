"""Loading: a right registry gives records, a wrong one gives one error with its place and what to do."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from support.invalid_registries import SIX, WRONG, Wrong, feature, model
from support.registry_projects import project_of

from flowai.errors import FlowaiError, RegistryError, UsageError
from flowai.project import Project
from flowai.registry import Registry, Serve, environments, load_registry

OWN_ROOT = Path(__file__).resolve().parents[2]


def load(project: Project, env: str | None = None, **environ: str) -> Registry:
    return load_registry(project, env=env, environ=environ)


def test_a_registry_becomes_records(tmp_path: Path) -> None:
    registry = load(project_of(tmp_path))
    assert registry.models["big"].model == "openai/gpt-4o"
    assert registry.features["summarization"].fallback == ("big",)
    assert registry.features["code_gen"].timeout.total_s == 60
    assert registry.releases["v2"].extends == "v1"
    assert registry.current == "v1"
    assert registry.history == ("v1",)
    assert registry.bad == ()
    assert registry.rollout is None
    assert registry.own_file == "registry.yaml"
    assert str(registry.places["big"]) == "registry.yaml:4: models.big"


def test_durations_and_times_to_live_are_seconds(tmp_path: Path) -> None:
    registry = load(
        project_of(
            tmp_path,
            feature("f: {cache: {ttl: stable}, timeout: {first_token: 1.5s, total: 2m}}")
            + "policies: {canary: {soak: 2d}, breaker: {open: 1h}}\n",
        )
    )
    assert registry.features["f"].cache.ttl_s == 30 * 86400
    assert registry.features["f"].timeout.first_token_s == 1.5
    assert registry.features["f"].timeout.total_s == 120
    assert registry.policies.canary.soak_s == 2 * 86400
    assert registry.policies.breaker.open_s == 3600
    assert registry.policies.breaker.window_s == 60


@pytest.mark.parametrize(
    ("text", "open_s", "max_open_s"),
    [("5m", 300, 300), ("15s..5m", 15, 300), ("1.5s..2h", 1.5, 7200), ("9s..9s", 9, 9)],
)
def test_a_breaker_is_open_for_a_time_or_for_a_range(
    tmp_path: Path, text: str, open_s: float, max_open_s: float
) -> None:
    policy = load(project_of(tmp_path, SIX + f"policies: {{breaker: {{open: {text}}}}}\n")).policies.breaker
    assert (policy.open_s, policy.max_open_s) == (open_s, max_open_s)


def test_server_keys_and_limits_are_loaded(tmp_path: Path) -> None:
    key = f"web: {{tenant: acme, sha256: {'ab' * 32}}}"
    text = SIX + f"serve: {{keys: {{{key}}}, max_body_bytes: 2048, body_timeout: 5s}}\n"
    prod = "extends: registry.yaml\nserve: {max_concurrency: 9}\n"
    serve = load(project_of(tmp_path, text, prod=prod), env="prod").serve
    assert {name: (key.tenant, key.sha256) for name, key in serve.keys.items()} == {"web": ("acme", "ab" * 32)}
    assert serve.max_body_bytes == 2048
    assert serve.max_concurrency == 9
    assert serve.body_timeout_s == 5.0
    for empty in ("serve:", "serve: {}", "serve: {keys: , max_concurrency: }"):
        assert load(project_of(tmp_path, SIX + empty + "\n")).serve == Serve()


def test_keys_may_expire_and_name_what_they_may_call_and_tenants_have_limits(tmp_path: Path) -> None:
    key = f"web: {{tenant: acme, sha256: {'ab' * 32}, expires: 2027-01-31, features: [f], models: []}}"
    limits = "acme: {max_concurrency: 8, requests_per_minute: 600, tokens_per_minute: 200000, usd_per_day: 50}"
    text = SIX + f"serve: {{keys: {{{key}}}, tenants: {{{limits}}}, queue: {{max_waiting: 4, max_wait: 0.5s}}}}\n"
    serve = load(project_of(tmp_path, text)).serve
    web = serve.keys["web"]
    assert (web.expires, web.features, web.models, web.is_restricted) == (date(2027, 1, 31), ("f",), (), True)
    acme = serve.tenants["acme"]
    assert (acme.max_concurrency, acme.requests_per_minute, acme.tokens_per_minute) == (8, 600, 200_000)
    assert (acme.usd_per_day, acme.has_rates) == (50, True)
    assert (serve.queue.max_waiting, serve.queue.max_wait_s) == (4, 0.5)
    quoted = load(project_of(tmp_path, text.replace("2027-01-31", "'2027-01-31'"))).serve
    assert quoted.keys["web"].expires == date(2027, 1, 31)


def test_empty_sections_equal_missing_ones(tmp_path: Path) -> None:
    registry = load(project_of(tmp_path, "schema_version: 1\nmodels:\nfeatures:\npolicies:\nreleases:\ntiers:\n"))
    assert not registry.models
    assert registry.policies.breaker.failures == 5


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_an_invalid_registry_is_a_single_error_with_place_and_reason(tmp_path: Path, wrong: Wrong) -> None:
    with pytest.raises(RegistryError) as caught:
        load(project_of(tmp_path, wrong.text))
    assert wrong.place in str(caught.value.place)
    assert wrong.what in caught.value.what
    assert wrong.hint in (caught.value.hint or "")


def test_a_key_written_into_the_registry_is_refused_and_not_shown(tmp_path: Path) -> None:
    key = "sk-ant-api03-" + "Ab1" * 12
    for entry in (f"api_key: {key}", f"api_key: [{key}]", f"provider: {key}!"):
        with pytest.raises(RegistryError) as caught:
            load(project_of(tmp_path, model(entry)))
        assert key not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("word", ["EMPTY", "sk-1234", "none"])
def test_placeholder_keys_of_local_servers_are_no_secrets(tmp_path: Path, word: str) -> None:
    registry = load(project_of(tmp_path, model(f"api_key: {word}")))
    assert registry.models["m"].api_key == word


# --- environments ---

PROD = """\
extends: registry.yaml
features:
  summarization: {fallback: [], timeout: {total: 5s}}
models:
  big: {api_base: https://gateway.internal/v1}
current: v2
history: [v1, v2]
"""


def test_an_environment_merges_maps_and_replaces_the_rest(tmp_path: Path) -> None:
    project = project_of(tmp_path, prod=PROD)
    for registry in (load(project, env="prod"), load(project, FLOWAI_ENV="prod")):
        assert registry.environment == "prod"
        assert registry.own_file == "registry.prod.yaml"
        assert registry.models["big"].model == "openai/gpt-4o"
        assert registry.models["big"].api_base == "https://gateway.internal/v1"
        assert registry.features["summarization"].fallback == ()
        assert registry.features["summarization"].timeout.total_s == 5
        assert registry.current == "v2"
        assert registry.history == ("v1", "v2")
    assert load(project).current == "v1"
    assert load(project, env=None, FLOWAI_ENV="").environment is None


def test_an_empty_section_of_an_environment_removes_nothing(tmp_path: Path) -> None:
    registry = load(
        project_of(tmp_path, prod="extends: registry.yaml\nfeatures:\nmodels:\nrollout: null\n"), env="prod"
    )
    assert set(registry.features) == {"summarization", "code_gen"}


def test_errors_name_the_right_file_of_the_two(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        load(project_of(tmp_path, prod=PROD.replace("5s", "5")), env="prod")
    assert str(caught.value.place) == "registry.prod.yaml:3: features.summarization.timeout.total"
    with pytest.raises(RegistryError) as caught:
        load(
            project_of(
                tmp_path, SIX.replace("openai/", ""), prod="extends: registry.yaml\nmodels: {m: {tier: bulk}}\n"
            ),
            env="prod",
        )
    assert str(caught.value.place) == "registry.yaml:3: models.m.model"


def test_an_environment_may_add_a_release_but_not_change_one(tmp_path: Path) -> None:
    added = "extends: registry.yaml\nreleases:\n  v4: {extends: v2}\n"
    assert "v4" in load(project_of(tmp_path, prod=added), env="prod").releases
    with pytest.raises(RegistryError, match=r"release `v2` is defined already at `registry\.yaml:14`") as caught:
        load(project_of(tmp_path, prod=added.replace("v4", "v2").replace("extends: v2", "extends: v1")), env="prod")
    assert str(caught.value.place) == "registry.prod.yaml:3: releases.v2"


def test_an_unknown_environment_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    project = project_of(tmp_path, prod=PROD, staging=PROD)
    assert environments(project) == ("prod", "staging")
    for name in ("prd", "../prod", "prod.yaml"):
        with pytest.raises(UsageError) as caught:
            load(project, env=name)
        assert "`prod`, `staging`" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("current: v1\n", "missing key `extends`"),
        ("extends: other.yaml\n", "no file `other.yaml`"),
        ("extends: ../registry.yaml\n", "expected the name of a registry file in the same directory"),
        ("extends: registry.prod.yaml\n", "expected the name of a registry file in the same directory"),
        ("extends: registry.staging.yaml\n", "extends another file"),
        ("", "missing key `extends`"),
    ],
)
def test_a_wrong_chain_of_files_is_an_error(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(RegistryError, match=r"registry\.prod\.yaml") as caught:
        load(project_of(tmp_path, prod=text, staging=PROD), env="prod")
    assert what in caught.value.what


def test_an_environments_file_can_be_the_registry_itself(tmp_path: Path) -> None:
    project = project_of(tmp_path, prod=PROD)
    named = Project(root=project.root, registry=project.root / "registry.prod.yaml")
    assert load(named).current == "v2"


def test_a_file_that_is_missing_or_not_text_is_an_error(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    project.registry.write_bytes(b"schema_version: 1\nmodels: \xff\n")
    with pytest.raises(RegistryError, match="not UTF-8"):
        load(project)
    project.registry.unlink()
    with pytest.raises(RegistryError, match="no such file"):
        load(project)


# --- the repository's own ---


def test_the_repositorys_registry_is_right_and_needs_no_key() -> None:
    registry = load(Project(root=OWN_ROOT, registry=OWN_ROOT / "registry.yaml"))
    assert len(registry.features) == 7
    assert [name for name, feature in registry.features.items() if feature.critical] == ["decision_node"]
    assert set(registry.tiers) == {"premium", "standard", "bulk"}
    assert registry.current == "v1"
    assert {binding.model for binding in registry.releases["v1"].bindings.values()} == {"smollm2"}
    text = (OWN_ROOT / "registry.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=flowai/registry/registry.schema.json\n")


def test_loading_imports_nothing_heavy() -> None:
    program = """
import sys
from datetime import date
from pathlib import Path
from flowai.project import Project
from flowai.registry import load_registry
root = Path(sys.argv[1])
load_registry(Project(root=root, registry=root / "registry.yaml"), env=None, environ={})
heavy = {"jsonschema", "ruamel", "dotenv", "pandas", "numpy", "litellm", "duckdb", "difflib"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""
    result = subprocess.run([sys.executable, "-c", program, str(OWN_ROOT)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_errors_have_an_exit_code_of_project_files(tmp_path: Path) -> None:
    with pytest.raises(FlowaiError) as caught:
        load(project_of(tmp_path, "schema_version: 2\n"))
    assert caught.value.exit_code == 3
