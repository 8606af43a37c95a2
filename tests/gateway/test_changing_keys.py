"""Keys that are replaced while calls run: no call fails, and neither key is in any output."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.gateway_projects import HELLO, until
from support.scripted_replies import Reply

from flowai.errors import FlowaiError, ProjectError
from flowai.project import find_project
from flowai.registry import environment_of
from flowai.registry.environment import variable_sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.gateway_projects import Sample
    from support.scripted_replies import Asked

# of no known shape: only an exact match can redact them
KEYS = tuple(f"rotated{number}-9c8b7a6f5e4d3c2b1a{number}" for number in range(5))
NAME = "ROTATED_KEY"


class Door:
    """A provider's list of valid keys; a refusal echoes the key, as some providers do."""

    def __init__(self, *valid: str) -> None:
        self.valid = set(valid)
        self.refused_count = 0

    def __call__(self, asked: Asked) -> Reply:
        key = asked.headers["authorization"].removeprefix("bearer ")
        if key in self.valid:
            return Reply()
        self.refused_count += 1
        return Reply(status=401, error={"message": f"Incorrect API key provided: {key}"})


def write_dotenv(project: Sample, key: str) -> None:
    project.write(".env", f"{NAME}={key}\n")


def overwrite_dotenv(project: Sample, key: str) -> None:
    """As an editor that truncates: for a moment the file is empty."""
    (project.root / ".env").write_text(f"{NAME}={key}\n")


def write_rendered(project: Sample, key: str) -> None:
    """As Vault's agent renders a template."""
    write_named_files(project, "rendered/llm.env")
    project.write("rendered/llm.env", f"# rendered\nexport {NAME}={key}\n")


def write_mount(project: Sample, key: str) -> None:
    """As Kubernetes mounts a secret: names link through `..data`, which is swapped in one step."""
    write_named_files(project, "mounted")
    mount = project.root / "mounted"
    fresh = mount / f"..{key[:8]}"
    fresh.mkdir(parents=True)
    (fresh / NAME).write_text(f"{key}\n")
    (fresh / "ca.crt").write_text("no variable\n")
    beside = mount / "..data_tmp"
    beside.symlink_to(fresh.name)
    beside.replace(mount / "..data")
    for name in (NAME, "ca.crt"):
        if not (mount / name).is_symlink():
            (mount / name).symlink_to(f"..data/{name}")


def write_named_files(project: Sample, names: str) -> None:
    if not (project.root / ".env").exists():
        project.write(".env", f"FLOWAI_KEY_FILES={names}\n")


def write_key_file(project: Sample, key: str) -> None:
    project.write("key.txt", f"{key}\n")


WRITERS = {
    "dotenv": write_dotenv,
    "overwritten dotenv": overwrite_dotenv,
    "rendered file": write_rendered,
    "mount": write_mount,
    "key file": write_key_file,
}


def use(project: Sample, writer: str, door: Door) -> None:
    """Give the project one model whose key the writer writes."""
    project.registry["models"]["main"]["api_key"] = "file:key.txt" if writer == "key file" else f"${{{NAME}}}"
    project.feature(fallback=[], degrade=None)
    project.providers["main"].answerer = door
    WRITERS[writer](project, KEYS[0])


def assert_no_key(project: Sample, *texts: str) -> None:
    logged = [path.read_text() for path in (project.root / ".flowai").rglob("*.jsonl")]
    assert logged
    for key in KEYS:
        assert not any(key in text for text in (*logged, *texts))


async def rotate(
    project: Sample, write: Callable[[Sample, str], None], door: Door, count: int, asked: list[str]
) -> None:
    """Call `count` times, 16 calls at once; replace the key four times and revoke the old one in the same moment."""
    steps = [count * step // 5 for step in range(1, 5)]

    async def caller() -> None:
        while len(asked) < count:
            asked.append("")
            at = len(asked) - 1
            if at in steps:
                step = steps.index(at) + 1
                door.valid.add(KEYS[step])
                write(project, KEYS[step])
                door.valid.discard(KEYS[step - 1])
            asked[at] = (await gateway.complete("chat", HELLO)).text

    async with project.gateway(environ={}) as gateway:
        await asyncio.gather(*(caller() for _ in range(16)))


@pytest.mark.parametrize("writer", [name for name in WRITERS if name != "dotenv"])
def test_no_call_fails_while_keys_are_replaced(writer: str, project: Sample) -> None:
    door = Door(KEYS[0])
    use(project, writer, door)
    asked: list[str] = []
    asyncio.run(rotate(project, WRITERS[writer], door, 600, asked))
    assert set(asked) == {"hello world"}
    assert_no_key(project)


def test_ten_thousand_calls_survive_four_rotations(project: Sample) -> None:
    door = Door(KEYS[0])
    use(project, "dotenv", door)
    asked: list[str] = []
    asyncio.run(rotate(project, write_dotenv, door, 10_000, asked))
    assert len(asked) == 10_000
    assert set(asked) == {"hello world"}
    assert door.refused_count > 0, "old keys were revoked while calls ran"
    assert_no_key(project)


def test_a_stream_gets_the_new_key(project: Sample) -> None:
    door = Door(KEYS[0])
    use(project, "dotenv", door)

    async def streamed() -> str:
        async with project.gateway(environ={}) as gateway:
            await gateway.complete("chat", HELLO)
            door.valid = {KEYS[1]}
            write_dotenv(project, KEYS[1])
            return "".join([getattr(each, "text", "") async for each in gateway.stream("chat", HELLO)])

    assert asyncio.run(streamed()).startswith("hello world")


def test_two_keys_are_valid_while_they_are_rotated(project: Sample) -> None:
    """First the new key is added, then it alone is used, then the old one is revoked: no call is even refused."""
    door = Door(KEYS[0], KEYS[1])
    project.registry["models"]["main"]["api_key"] = [f"${{{NAME}}}", f"${{{NAME}_NEXT}}"]
    project.feature(fallback=[], degrade=None)
    project.providers["main"].answerer = door
    write_dotenv(project, KEYS[0])  # the second is not there yet

    async def served() -> list[str]:
        texts = []
        async with project.gateway(environ={}) as gateway:
            for lines, valid in (
                (f"{NAME}={KEYS[0]}\n", {KEYS[0], KEYS[1]}),
                (f"{NAME}={KEYS[0]}\n{NAME}_NEXT={KEYS[1]}\n", {KEYS[0], KEYS[1]}),
                (f"{NAME}={KEYS[1]}\n", {KEYS[0], KEYS[1]}),
                (f"{NAME}={KEYS[1]}\n", {KEYS[1]}),
            ):
                project.write(".env", lines)
                await gateway.reload()
                door.valid = valid
                texts += [(await gateway.complete("chat", HELLO)).text for _ in range(5)]
        return texts

    assert asyncio.run(served()) == ["hello world"] * 20
    assert door.refused_count == 0


@pytest.mark.parametrize("writer", list(WRITERS))
def test_a_key_that_is_gone_or_half_written_is_still_used(writer: str, project: Sample) -> None:
    door = Door(KEYS[0])
    use(project, writer, door)
    file = {"rendered file": "rendered/llm.env", "mount": f"mounted/{NAME}", "key file": "key.txt"}.get(writer, ".env")

    async def served() -> list[str]:
        async with project.gateway(environ={}) as gateway:
            texts = [(await gateway.complete("chat", HELLO)).text]
            for content in ("", f"{NAME}='half\nwritten", None):
                if writer in {"mount", "key file"} and content:
                    continue  # any text is a key there
                (project.root / file).unlink()
                if content is not None:
                    (project.root / file).write_text(content)
                await gateway.reload()
                texts.append((await gateway.complete("chat", HELLO)).text)
            runtime = await gateway._runtime()
            notes = [*runtime.reloader.snapshot.warnings, runtime.reloader.error or ""]
            assert any(NAME in note or "key file" in note or file in note for note in notes), notes
            if writer == "mount":
                (project.root / file).symlink_to(f"..data/{NAME}")
            door.valid = {KEYS[1]}
            WRITERS[writer](project, KEYS[1])
            texts.append((await gateway.complete("chat", HELLO)).text)
        return texts

    texts = asyncio.run(served())
    assert set(texts) == {"hello world"}
    assert_no_key(project)


def test_a_key_that_stays_refused_fails_with_one_reading_at_a_time(project: Sample) -> None:
    door = Door()
    use(project, "dotenv", door)

    async def failed() -> list[Any]:
        async with project.gateway(environ={}) as gateway:
            return await asyncio.gather(*(gateway.complete("chat", HELLO) for _ in range(20)), return_exceptions=True)

    errors = asyncio.run(failed())
    assert all(isinstance(error, FlowaiError) for error in errors)
    assert 1 <= door.refused_count <= 20  # once per call at most
    assert_no_key(project, *map(str, errors))


def test_the_environment_wins_over_dotenv_and_dotenv_over_key_files(project: Sample) -> None:
    project.write(".env", "A=dotenv\nB=dotenv\nFLOWAI_KEY_FILES=first.env:second\n")
    project.write("first.env", "A=first\nB=first\nC=first\n")
    project.write("second/C", "second\n")
    project.write("second/D", "second\n")
    project.write("second/not.a.name", "no")
    found = find_project(project.root, {})
    environ = {"A": "process"}
    merged = environment_of(found, environ)
    assert {name: merged[name] for name in "ABCD"} == {"A": "process", "B": "dotenv", "C": "first", "D": "second"}
    assert [source.name for source in variable_sources(found, environ)] == [
        "environment",
        ".env",
        "first.env",
        "second",
    ]
    assert "dotenv" not in repr(variable_sources(found, environ)).replace(".env", "")


def test_key_files_that_are_missing_are_named(project: Sample) -> None:
    with pytest.raises(ProjectError, match=r"FLOWAI_KEY_FILES names `.*nowhere`, which cannot be read"):
        environment_of(find_project(project.root, {}), {"FLOWAI_KEY_FILES": "nowhere"})


def test_serve_uses_a_new_key_without_a_restart(project: Sample) -> None:
    door = Door(KEYS[0])
    use(project, "dotenv", door)
    arguments = [sys.executable, "-m", "flowai", "serve", "--port", "0", "--json"]
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(project.root)}
    statuses: list[int] = []
    texts: list[str] = []

    def ask(address: str) -> None:
        with httpx.Client(base_url=address, timeout=60) as client:
            for _ in range(50):
                body = {"model": "chat", "messages": [], "prompt_variables": HELLO}
                response = client.post("/v1/chat/completions", json=body)
                statuses.append(response.status_code)
                texts.append(response.text)

    with subprocess.Popen(
        arguments, cwd=project.root, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())["address"]
            asking = [threading.Thread(target=ask, args=(address,)) for _ in range(4)]
            for thread in asking:
                thread.start()
            for step in range(1, 5):
                asyncio.run(until(lambda step=step: len(statuses) >= 35 * step))  # type: ignore[misc]  # bound now
                door.valid.add(KEYS[step])
                write_dotenv(project, KEYS[step])
                door.valid.discard(KEYS[step - 1])
            for thread in asking:
                thread.join(120)
        finally:
            process.terminate()
            out, err = process.communicate()
    assert statuses == [200] * 200
    assert_no_key(project, out, err, *texts)
