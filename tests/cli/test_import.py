"""`flowai import`: exports of other tools become files that run, and what was not taken is listed."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.sample_project import REGISTRY
from support.scripted_provider import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran
    from support.scripted_provider import ScriptedProvider

    Command = Callable[..., Ran]

FIXTURES = Path(__file__).parent.parent / "evals" / "importers" / "fixtures"
OPENAI = ("openai_eval.json", "openai_items.jsonl", "openai_run.json")
LANGFUSE = ("langfuse_dataset.json", "langfuse_items.json", "langfuse_chat_prompt.json")


@pytest.fixture
def exports(place: Path) -> Path:
    """A folder with the exports, in an empty project without a registry."""
    for path in FIXTURES.iterdir():
        shutil.copy(path, place / path.name)
    return place


@pytest.fixture
def registry(exports: Path, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with a registry whose models are scripted."""
    monkeypatch.setenv("SCRIPTED_KEY", "scripted-key-0123456789")
    monkeypatch.setenv("OPENAI_API_KEY", "scripted-key-0123456789")
    (exports / "prompts").mkdir()
    (exports / "prompts/echo_v1.prompt").write_text("{{text}}", encoding="utf-8")
    (exports / "registry.yaml").write_text(REGISTRY.format(base_url=provider.base_url), encoding="utf-8")
    return exports


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written_files(root: Path) -> set[str]:
    folders = ("evals", "datasets", "prompts")
    return {str(path.relative_to(root)) for folder in folders for path in (root / folder).rglob("*") if path.is_file()}


def omissions(ran: Ran) -> dict[str, str]:
    return {entry["key"]: entry["reason"] for entry in json.loads(ran.out)["not_taken"]}


# --- OpenAI Evals ---


def test_every_grader_of_an_openai_eval_is_mapped_or_named(exports: Path, command: Command) -> None:
    import yaml

    ran = command("import", *OPENAI, "--json")
    assert ran.code == 0, ran.err
    suite = yaml.safe_load((exports / "evals/support_tickets.yaml").read_text(encoding="utf-8"))
    assert suite["prompts"] == ["file://../prompts/support_tickets_v1.prompt"]
    assert suite["providers"] == ["openai:gpt-4o-mini"]
    assert suite["flowai"] == {"render_variables": False}, "an item with `{{nothing}}` is data"
    assert suite["defaultTest"]["options"] == {"disableVarExpansion": True}, "a list in an item stays a list"
    assertions = {assertion["metric"]: assertion for assertion in suite["defaultTest"]["assert"]}
    assert {name: assertion["type"] for name, assertion in assertions.items()} == {
        "exact": "equals",
        "turned around": "equals",
        "no apology": "not-equals",
        "part": "contains",
        "any case": "icontains",
        "close": "bleu",
        "meaning": "similar",
        "tone": "llm-rubric",
        "quality": "llm-rubric",
        "one word": "python",
    }
    assert assertions["exact"]["value"] == "{{label}}"
    assert assertions["quality"]["threshold"] == 0.75, "4 of 1 to 5"
    assert "Ticket: {{ticket}} Answer: (the output)" in assertions["tone"]["value"]
    named = omissions(ran)
    assert "only `{{sample.output_text}}` can be checked" in named["testing_criteria.5.input"]
    assert "`fuzzy_match` has no counterpart" in named["testing_criteria.8.evaluation_metric"]
    assert "formula" in named["testing_criteria.12"]
    assert "file_id" in named["data_source.source"]
    assert [row["vars"]["tags"] for row in rows(exports / "datasets/support_tickets.jsonl")] == [
        ["money", "urgent"],
        [],
    ]
    assert rows(exports / "datasets/support_tickets.outputs.jsonl") == [
        {"id": "support_tickets-2", "output": "hardware"}
    ]


def test_the_code_of_a_python_grader_grades_as_before(exports: Path, command: Command) -> None:
    ran = command("import", *OPENAI)
    (code,) = (exports / "evals").glob("*.py")
    assert f"note: evals/{code.name} is code of the export: read it before it runs" in ran.out
    names: dict[str, Any] = {}
    exec(code.read_text(encoding="utf-8"), names)  # noqa: S102 - our own fixture
    assert names["get_assert"]("word", {"vars": {}}) == 1.0
    assert names["get_assert"]("two words", {"vars": {}}) == 0.0


def test_output_items_are_recorded_answers(exports: Path, command: Command) -> None:
    ran = command("import", "openai_eval.json", "openai_output_items.json")
    assert ran.code == 0, ran.err
    assert rows(exports / "datasets/support_tickets.outputs.jsonl") == [
        {"id": "support_tickets-1", "output": "billing"}
    ]
    assert "the export has no prompt" in ran.out
    assert ran.out.splitlines()[-1] == (
        "next: flowai eval evals/support_tickets.yaml --from-outputs datasets/support_tickets.outputs.jsonl"
    )


def test_an_eval_without_items_keeps_its_graders(exports: Path, command: Command) -> None:
    ran = command("import", "openai_eval.json")
    assert ran.code == 0
    assert "the export has no items; pass the JSONL file too" in ran.out
    assert written_files(exports) == {"evals/support_tickets.yaml", "evals/support_tickets_one_word_11.py"}


def test_items_without_their_eval_are_named(exports: Path, command: Command) -> None:  # noqa: ARG001 - stands in it
    ran = command("import", "openai_items.jsonl")
    assert ran.code == 3
    assert "pass the eval object too" in ran.err


def test_an_eval_of_the_old_registry_runs(registry: Path, command: Command, provider: ScriptedProvider) -> None:
    assert command("import", "openai_registry.yaml").code == 0
    provider.answerer = lambda asked: Reply(text="Paris." if "France" in str(asked.body["messages"]) else "Bonn")
    ran = command("eval", "evals/capitals.yaml", "--model", "m", "--no-cache")
    assert "pass 1  fail 1  error 0" in ran.out, ran.out + ran.err
    assert ran.code == 1
    long = next(asked for asked in provider.asked if len(asked.body["messages"]) > 2)
    assert [message["role"] for message in long.body["messages"]] == ["system", "user", "assistant", "user"]
    assert long.body["messages"][-1]["content"] == "Germany?"
    assert (registry / "datasets/capitals.jsonl").is_file()


@pytest.mark.parametrize("path", ["../secret.jsonl", "/etc/passwd", "sub/../../secret.jsonl"])
def test_a_registry_file_names_only_samples_beside_it(exports: Path, command: Command, path: str) -> None:
    (exports.parent / "secret.jsonl").write_text('{"input": "x", "ideal": "y"}\n', encoding="utf-8")
    text = (exports / "openai_registry.yaml").read_text(encoding="utf-8")
    (exports / "openai_registry.yaml").write_text(text.replace("openai_samples.jsonl", path), encoding="utf-8")
    ran = command("import", "openai_registry.yaml")
    assert ran.code == 3
    assert "leads out of" in ran.err
    assert written_files(exports) == set()


# --- Langfuse ---


def test_a_langfuse_dataset_and_its_prompt_run(registry: Path, command: Command, provider: ScriptedProvider) -> None:
    ran = command("import", *LANGFUSE, "--json")
    assert ran.code == 0, ran.err
    assert {"data.2", "labels", "tags", "config.supported_languages", "prompt.1", "expectedOutput"} <= set(
        omissions(ran)
    )

    def answer(asked: Asked) -> Reply:
        return Reply(text="billing" if "charged" in str(asked.body["messages"]) else '{"label": "hardware"}')

    provider.answerer = answer
    ran = command("eval", "evals/support_tickets.yaml", "--model", "m", "--no-cache")
    assert "pass 2  fail 0  error 0" in ran.out, ran.out + ran.err
    messages = next(asked.body["messages"] for asked in provider.asked if "charged" in str(asked.body))
    assert messages == [
        {"role": "system", "content": 'Classify. Answer like {"label": {I was charged twice.}}.'},
        {"role": "user", "content": "I was charged twice. (at most 20 letters)"},
    ]
    assert rows(registry / "datasets/support_tickets.jsonl")[0]["metadata"] == {"kind": "money"}


def test_a_text_prompt_keeps_what_is_no_variable(exports: Path, command: Command) -> None:
    ran = command("import", "langfuse_text_prompt.json")
    assert ran.code == 0, ran.err
    assert written_files(exports) == {"prompts/movie_critic_v1.prompt"}
    text = (exports / "prompts/movie_critic_v1.prompt").read_text(encoding="utf-8")
    assert "As a {{level}} critic, do you like {{movie}}? \\{{#if x}}" in text


def test_a_page_of_items_names_the_missing_pages(exports: Path, command: Command) -> None:
    items = json.loads((exports / "langfuse_items.json").read_bytes())
    items["meta"] |= {"totalItems": 120, "totalPages": 3}
    (exports / "langfuse_items.json").write_text(json.dumps(items), encoding="utf-8")
    assert "page 1 of 3: pass the other pages too" in command("import", "langfuse_items.json").out


def test_a_prompt_inside_a_prompt_is_named(exports: Path, command: Command) -> None:
    prompt = json.loads((exports / "langfuse_text_prompt.json").read_bytes())
    prompt["prompt"] = "@@@langfusePrompt:name=base|label=production@@@ {{x}}"
    (exports / "p.json").write_text(json.dumps(prompt), encoding="utf-8")
    ran = command("import", "p.json")
    assert ran.code == 3
    assert "a prompt inside the prompt" in ran.err


# --- Inspect ---


def test_a_log_of_inspect_becomes_recorded_answers(exports: Path, command: Command) -> None:
    """The log was written by inspect_ai 0.3.285, whose archives are packed with Zstandard."""
    ran = command("import", "capitals.eval")
    assert ran.code == 0, ran.err
    outputs = rows(exports / "datasets/capitals.outputs.jsonl")
    assert [(row["id"], row["output"], row["epoch"], row["scores"]) for row in outputs] == [
        ("fr", "Paris", 1, {"includes": "C"}),
        ("de", "Bonn", 1, {"includes": "I"}),
        ("fr", "It is Paris.", 2, {"includes": "C"}),
        ("de", "Berlin", 2, {"includes": "C"}),
    ]
    cases = rows(exports / "datasets/capitals.jsonl")
    assert cases[0] == {
        "id": "fr",
        "vars": {"input": "What is the capital of France?", "target": "Paris"},
        "assert": [{"type": "icontains-any", "value": ["Paris"]}],
        "metadata": {"level": 1},
    }
    assert "repeats: 2" in (exports / "evals/capitals.yaml").read_text(encoding="utf-8")
    assert ran.out.splitlines()[-1].endswith("--from-outputs datasets/capitals.outputs.jsonl")


def test_the_json_form_of_a_log_reads_alike(exports: Path, command: Command) -> None:
    log = HEADER | {"samples": [sample(), sample(id="b", output={"choices": []}, error={"message": "timed out"})]}
    (exports / "log.json").write_text(json.dumps(log | {"status": "error"}), encoding="utf-8")
    ran = command("import", "log.json", "--json")
    assert ran.code == 0, ran.err
    assert [row["output"] for row in rows(exports / "datasets/t.outputs.jsonl")] == ["the answer"]
    assert omissions(ran)["samples.1"] == "no answer: timed out"
    assert "ended with `error`" in omissions(ran)["status"]


HEADER: dict[str, Any] = {
    "version": 2,
    "status": "success",
    "plan": {},
    "eval": {"task": "t", "model": "openai/x", "scorers": []},
}


def sample(**changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "attachment://a"}
    return {
        "id": 1,
        "epoch": 1,
        "input": "?",
        "target": "x",
        "output": {"choices": [{"message": message}]},
        "scores": {"s": {"value": 1}},
        "attachments": {"a": "the answer"},
    } | changes


def write_log(path: Path, samples: dict[str, Any], header: Any = HEADER) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps(header))
        for name, value in samples.items():
            archive.writestr(name, value if isinstance(value, bytes) else json.dumps(value))


def test_a_name_that_leads_out_of_the_archive_writes_nothing_there(exports: Path, command: Command) -> None:
    log = exports / "x.eval"
    write_log(
        log, {"samples/../../../../evil.json": sample()}, HEADER | {"eval": HEADER["eval"] | {"task": "../../evil"}}
    )
    ran = command("import", "x.eval")
    assert ran.code == 0, ran.err
    assert written_files(exports) == {
        "evals/evil.yaml", "datasets/evil.jsonl", "datasets/evil.outputs.jsonl", "prompts/evil_v1.prompt",
    }  # fmt: skip
    assert rows(exports / "datasets/evil.outputs.jsonl")[0]["output"] == "the answer"
    assert not (exports.parent / "evil.json").exists()


def test_numbers_that_json_does_not_have_are_null(exports: Path, command: Command) -> None:
    write_log(exports / "x.eval", {"samples/a.json": sample(scores={"s": {"value": float("nan")}})})
    assert command("import", "x.eval").code == 0
    assert rows(exports / "datasets/t.outputs.jsonl")[0]["scores"] == {"s": None}


def test_a_bomb_in_an_archive_is_named(exports: Path, command: Command) -> None:
    write_log(exports / "x.eval", {"samples/a.json": b'"' + b"a" * (65 << 20) + b'"'})
    ran = command("import", "x.eval")
    assert ran.code == 3
    assert "x.eval: samples/a.json: the entry has more than 67,108,864 bytes" in ran.err
    assert written_files(exports) == set()


def test_a_bomb_that_lies_about_its_size_is_named(exports: Path, command: Command) -> None:
    log = exports / "x.eval"
    write_log(log, {"samples/a.json": b'"' + b"a" * (65 << 20) + b'"'})
    raw = log.read_bytes().replace(struct.pack("<I", (65 << 20) + 2), struct.pack("<I", 100))
    log.write_bytes(raw)
    ran = command("import", "x.eval")
    assert ran.code == 3
    assert "x.eval: samples/a.json:" in ran.err
    assert written_files(exports) == set()


def test_a_bomb_of_zstandard_is_named(exports: Path, command: Command) -> None:
    """A frame of run-length blocks: 128 KiB of output for 4 bytes each, in an archive that declares 10 bytes."""
    quote = struct.pack("<I", 1 << 3)[:3] + b'"'
    block = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"a"
    last = struct.pack("<I", 1 << 3 | 1)[:3] + b'"'
    frame = b"\x28\xb5\x2f\xfd" + bytes([0x00, 0x58]) + quote + block * (65 << 3) + last
    log = exports / "x.eval"
    write_log(log, {"samples/a.json": b"?" * len(frame)})
    with zipfile.ZipFile(log, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("header.json", json.dumps(HEADER))
        archive.writestr("samples/a.json", frame)
        info = archive.getinfo("samples/a.json")
        info.compress_type, info.file_size = 93, 10
    ran = command("import", "x.eval")
    assert ran.code == 3, ran.out
    assert "x.eval: samples/a.json: the entry has more than 67,108,864 bytes" in ran.err
    assert written_files(exports) == set()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff", "byte 0xff is not UTF-8"),
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "no sample"),
    ],
)
def test_a_damaged_sample_is_named(exports: Path, command: Command, content: bytes, problem: str) -> None:
    write_log(exports / "x.eval", {"samples/a.json": content})
    ran = command("import", "x.eval")
    assert ran.code == 3
    assert "x.eval: samples/a.json" in ran.err
    assert problem in ran.err


def test_a_truncated_archive_is_named(exports: Path, command: Command) -> None:
    raw = (FIXTURES / "capitals.eval").read_bytes()
    (exports / "x.eval").write_bytes(raw[: len(raw) // 2])
    ran = command("import", "x.eval")
    assert ran.code == 3
    assert "x.eval" in ran.err


# --- GitHub Models ---


def test_a_prompt_file_of_github_models_runs(registry: Path, command: Command, provider: ScriptedProvider) -> None:
    text = (registry / "summarize.prompt.yml").read_text(encoding="utf-8").partition("  - name: similar\n")[0]
    (registry / "summarize.prompt.yml").write_text(text, encoding="utf-8")
    ran = command("import", "summarize.prompt.yml")
    assert ran.code == 0, ran.err
    provider.default = Reply(text="  summary - Rain.  ")
    ran = command("eval", "evals/text_summarizer.yaml", "--model", "m", "--no-cache")
    assert "pass 2  fail 0  error 0" in ran.out, ran.out + ran.err
    assert provider.asked[0].body["temperature"] == 0.5
    assert provider.asked[0].body["messages"][0] == {"role": "system", "content": "You are a text summarizer."}


def test_graded_evaluators_of_github_models_become_rubrics(exports: Path, command: Command) -> None:
    ran = command("import", "summarize.prompt.yml", "--json")
    text = (exports / "evals/text_summarizer.yaml").read_text(encoding="utf-8")
    assert "The answer means the same as: {{expected}}" in text
    assert "Is (the output) short? {{input}}" in text
    assert {"model", "modelParameters.presence", "evaluators.3", "evaluators.4"} <= set(omissions(ran))


# --- any format ---


def test_a_configuration_of_promptfoo_needs_no_import(place: Path, command: Command) -> None:
    (place / "promptfooconfig.yaml").write_text("prompts: [hi]\nproviders: [echo]\ntests: []\n", encoding="utf-8")
    ran = command("import", "promptfooconfig.yaml")
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == "next: flowai eval promptfooconfig.yaml"
    assert [path.name for path in place.iterdir()] == ["promptfooconfig.yaml"]


def test_existing_files_are_replaced_only_if_told(exports: Path, command: Command) -> None:
    assert command("import", "capitals.eval").code == 0
    suite = exports / "evals/capitals.yaml"
    suite.write_text("mine", encoding="utf-8")
    (exports / "prompts/capitals_v1.prompt").unlink()
    ran = command("import", "capitals.eval")
    assert ran.code == 2
    assert "nothing was written" in ran.err
    assert suite.read_text(encoding="utf-8") == "mine"
    assert not (exports / "prompts/capitals_v1.prompt").exists(), "all files or none"
    assert command("import", "capitals.eval", "--name", "other").code == 0
    assert command("import", "capitals.eval", "--force").code == 0
    assert suite.read_text(encoding="utf-8") != "mine"


def test_to_names_a_folder_of_the_project_from_here(
    registry: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (registry / "sub").mkdir()
    monkeypatch.chdir(registry / "sub")
    ran = command(
        "import", "../langfuse_dataset.json", "../langfuse_items.json", "../langfuse_chat_prompt.json", "--to", "inner"
    )
    assert ran.code == 0, ran.err
    assert (registry / "sub/inner/evals/support_tickets.yaml").is_file()
    assert ran.out.splitlines()[-1] == "next: flowai eval inner/evals/support_tickets.yaml"


@pytest.mark.parametrize("folder", ["..", "/", "link"])
def test_nothing_is_written_outside_the_project(exports: Path, command: Command, folder: str) -> None:
    (exports / "link").symlink_to(exports.parent)
    before = sorted(exports.parent.iterdir())
    ran = command("import", "capitals.eval", "--to", folder)
    assert ran.code == 2
    assert "outside the project" in ran.err
    assert sorted(exports.parent.iterdir()) == before


def test_a_planted_link_is_not_followed(exports: Path, command: Command) -> None:
    (exports / "evals").symlink_to(exports.parent)
    ran = command("import", "capitals.eval")
    assert ran.code in {2, 4}
    assert not (exports.parent / "capitals.yaml").exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.json", b"", "the file is empty"),
        ("x.json", b"\xff\xfe", "is not UTF-8"),
        ("x.json", b'{"a": ', "not valid JSON"),
        ("x.json", b'{"a": 1, "a": 2}', "not valid JSON"),
        ("x.json", b'{"a": 1}', "unknown format: found `a`"),
        ("x.json", b'[{"a": "' + b"x" * (10 << 20) + b'"}]', "found a text of 10,485,760 bytes, expected at most"),
        ("x.json", b"[" * 200_000, "not valid JSON"),
        ("x.jsonl", b'{"item": {"a": 1}}\n{"item": \n', "x.jsonl:2: not valid JSON"),
        ("x.json", b'{"testing_criteria": [1], "name": "x"}', "testing_criteria.0: found no grader"),
        ("x.json", b'{"testing_criteria": [{"type": "string_check", "operation": "eq"}]}', "testing_criteria.0.input"),
        ("x.yaml", b"a: &a [*a]\n", "x.yaml"),
        ("x.prompt.yml", b"name: x\nmessages: [{role: user}]\n", "messages.0: found no message"),
        ("x.prompt.yml", b"name: x\nmessages: [{role: wizard, content: x}]\n", "found role `wizard`"),
        ("x.json", b'{"name": "x", "version": "1", "prompt": "x"}', "version: found no version"),
        ("missing.json", None, "no such file"),
    ],
)
def test_a_wrong_file_is_named_and_nothing_is_written(
    place: Path, command: Command, name: str, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (place / name).write_bytes(content)
    ran = command("import", name)
    assert ran.code == 3, ran.out + ran.err
    assert name in ran.err
    assert problem in ran.err
    assert written_files(place) == set()


def test_hostile_text_stays_text(exports: Path, command: Command) -> None:
    hostile = "a: b\n# c\n\"'{{> evil}} {{#if x}} \u2028 \x07 - ~ yes"
    prompt = {"name": f"../{hostile}", "version": 1, "prompt": [{"role": "user", "content": hostile}]}
    (exports / "p.json").write_text(json.dumps(prompt), encoding="utf-8")
    evaluation = json.loads((exports / "openai_eval.json").read_bytes()) | {"name": hostile}
    evaluation["testing_criteria"] = [
        {
            "type": "string_check",
            "name": hostile,
            "input": "{{sample.output_text}}",
            "operation": "eq",
            "reference": hostile,
        }
    ]
    (exports / "e.json").write_text(json.dumps(evaluation), encoding="utf-8")
    import yaml

    assert command("import", "p.json").code == 0
    assert command("import", "e.json", "openai_items.jsonl", "--name", "hostile").code == 0
    suite = yaml.safe_load((exports / "evals/hostile.yaml").read_text(encoding="utf-8"))
    assert suite["description"] == hostile
    (file,) = (exports / "prompts").iterdir()
    assert file.name == "a_b_c_evil_if_x_yes_v1.prompt"
    assert "\\{{> evil}} \\{{#if x}}" in file.read_text(encoding="utf-8")


def test_a_name_is_a_file_name(exports: Path, command: Command) -> None:  # noqa: ARG001 - stands in it
    ran = command("import", "capitals.eval", "--name", "../x")
    assert ran.code == 2
    assert "--name: found `../x`" in ran.err
