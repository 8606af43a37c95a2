"""Files that change while a gateway serves: no call fails, none mixes two versions, a wrong version serves nobody."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.gateway_projects import HELLO, PROMPT, Sample, until, until_answered_by, until_troubled
from support.scripted_replies import Reply

from flowai.gateway.gateway import Gateway
from flowai.prompts.lockfile import LockedRelease, PromptLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scripted_replies import Asked


def version(project: Sample, number: int) -> None:
    """Make a release whose prompt, model name, and parameters all carry its number."""
    project.write(f"prompts/hello_v{number}.prompt", PROMPT % number)
    project.registry["models"][f"m{number}"] = {**project.registry["models"]["main"], "model": f"openai/m-{number}"}
    project.registry["releases"][f"v{number}"] = {
        "chat": {
            "prompt": f"prompts/hello_v{number}",
            "model": f"m{number}",
            "params": {"temperature": 0, "seed": number},
        }
    }


def tell_versions(asked: Asked) -> Reply:
    """Answer with the version of the prompt, of the model and of the parameters."""
    prompt = re.search(r"Prompt v(\d+)", json.dumps(asked.body["messages"]))
    assert prompt is not None
    return Reply(text=f"{prompt[1]} {asked.body['model'].removeprefix('m-')} {asked.body['seed']}", delay_s=0.005)


# --- what changes ---


def test_no_call_mixes_two_versions_during_reloads(project: Sample) -> None:
    project.providers["main"].answerer = tell_versions
    for number in (1, 2):
        version(project, number)
    project.feature(fallback=[], degrade=None)
    seen: Counter[tuple[str, str | None]] = Counter()

    async def call_on(gateway: Gateway, done: asyncio.Event) -> None:
        while not done.is_set() or sum(seen.values()) < 1_000:
            answer = await gateway.complete("chat", HELLO)
            seen[answer.text, answer.release] += 1

    async def changed(gateway: Gateway) -> None:
        for number in range(3, 11):
            version(project, number)  # a new release, then the switch, then the old one goes
            project.registry["current"] = f"v{number}"
            project.registry["history"] = [f"v{number - 1}"]
            if number > 4:
                del project.registry["releases"][f"v{number - 4}"]
            project.write()
            await until_answered_by(gateway, f"v{number}")

    async def served() -> None:
        async with project.gateway() as gateway:
            done = asyncio.Event()
            calls = [asyncio.create_task(call_on(gateway, done)) for _ in range(20)]
            await changed(gateway)
            done.set()
            await asyncio.gather(*calls)
            assert (await gateway.status()).degraded == {}

    asyncio.run(served())
    assert sum(seen.values()) >= 1_000
    assert len(seen) >= 9
    for text, release in seen:
        assert text == " ".join([(release or "").removeprefix("v")] * 3)
    assert {event.error_class for event in project.calls} == {None}


def test_a_prompt_that_changes_together_with_the_registry_is_served_together_with_it(project: Sample) -> None:
    project.providers["main"].answerer = lambda asked: Reply(text=tell_versions(asked).text)
    binding = project.registry["releases"]["v1"]["chat"]
    project.registry["models"]["main"]["model"] = "openai/m-1"
    binding["params"]["seed"] = 1
    project.feature(fallback=[], degrade=None)
    seen: Counter[str] = Counter()

    async def look_again(gateway: Gateway, done: asyncio.Event) -> None:
        while not done.is_set():
            await gateway.reload()

    async def served() -> None:
        async with project.gateway() as gateway:
            done = asyncio.Event()
            looking = [asyncio.create_task(look_again(gateway, done)) for _ in range(2)]
            for number in range(2, 12):
                project.write("prompts/hello_v1.prompt", PROMPT % number)
                binding["params"]["seed"] = number
                project.registry["models"]["main"]["model"] = f"openai/m-{number}"
                project.write()

                async def answers(number: int = number) -> bool:
                    text = (await gateway.complete("chat", HELLO)).text
                    seen[text] += 1
                    return text.startswith(f"{number} ")

                await until(answers)
            done.set()
            await asyncio.gather(*looking)

    asyncio.run(served())
    assert [text for text in seen if len(set(text.split())) != 1] == []


def test_a_call_in_flight_keeps_its_version(project: Sample) -> None:
    project.providers["main"].default = Reply(status=503, delay_s=0.5)
    project.providers["other"].answerer = lambda asked: Reply(text=asked.body["messages"][0]["content"].strip())

    async def asked() -> tuple[str, str | None]:
        async with project.gateway() as gateway:
            await gateway.warm_up()
            call = asyncio.create_task(gateway.complete("chat", HELLO))
            await until(lambda: project.requests)
            project.registry["releases"]["v2"] = {"chat": {"prompt": "prompts/hello_v2", "model": "small"}}
            project.registry["current"] = "v2"
            project.write()
            await gateway.reload()
            assert (await gateway.status()).release == "v2"
            answer = await call
            return answer.text, answer.release

    assert asyncio.run(asked()) == ("Prompt v1.", "v1")


def accepts(key: str) -> Callable[[Asked], Reply]:
    def answer(asked: Asked) -> Reply:
        return Reply() if asked.headers["authorization"] == f"bearer {key}" else Reply(status=401)

    return answer


def test_a_key_file_is_read_again_when_it_changes(project: Sample) -> None:
    project.write("key.txt", "key-one")
    project.registry["models"]["main"]["api_key"] = "file:key.txt"
    project.write()
    provider = project.providers["main"]

    async def served() -> None:
        async with project.gateway() as gateway:
            provider.answerer = accepts("key-one")
            assert (await gateway.complete("chat", HELLO)).text == "hello world"
            provider.answerer = accepts("key-two-of-another-length")
            project.write("key.txt", "key-two-of-another-length")
            await gateway.reload()
            assert (await gateway.complete("chat", HELLO)).model == "main"

    asyncio.run(served())
    assert project.alerts == []


def test_a_refused_key_is_replaced_by_the_next_with_one_alert(project: Sample) -> None:
    project.registry["models"]["main"]["api_key"] = ["key-one", "key-two"]
    project.write()
    project.providers["main"].answerer = accepts("key-two")

    async def served() -> list[str]:
        async with project.gateway() as gateway:
            return [(await gateway.complete("chat", HELLO)).model for _ in range(3)]

    assert asyncio.run(served()) == ["main"] * 3
    (alert,) = project.alerts
    assert (alert.cause, alert.model) == ("auth", "main")
    assert "key-one" not in alert.message


def test_a_prompt_and_its_partials_are_read_again(project: Sample) -> None:
    project.write("prompts/_tone.prompt", "kindly")
    project.write("prompts/hello_v1.prompt", '{{role "user"}}say {{text}} {{> tone}}')
    project.providers["main"].answerer = lambda asked: Reply(text=asked.body["messages"][0]["content"].strip())

    async def asked() -> list[str]:
        async with project.gateway() as gateway:
            answers = [await gateway.complete("chat", HELLO)]
            for path, text in (
                ("prompts/hello_v1.prompt", '{{role "user"}}shout {{text}} {{> tone}}'),
                ("prompts/_tone.prompt", "rudely"),
            ):
                project.write(path, text)
                await gateway.reload()
                answers.append(await gateway.complete("chat", HELLO))
            return [answer.text for answer in answers]

    assert asyncio.run(asked()) == [
        "say hello there kindly",
        "shout hello there kindly",
        "shout hello there rudely",
    ]
    assert len({event.prompt_hash for event in project.calls}) == 3


def test_a_feature_s_entry_is_read_again(project: Sample) -> None:
    project.providers["main"].default = Reply(status=503)

    async def asked() -> list[str]:
        async with project.gateway() as gateway:
            models = [(await gateway.complete("chat", HELLO)).model]
            project.feature(fallback=["small"], degrade=None)
            await gateway.reload()
            return [*models, (await gateway.complete("chat", HELLO)).model]

    assert asyncio.run(asked()) == ["other", "small"]


def test_a_key_of_the_project_s_own_file_is_read_again(project: Sample) -> None:
    async def asked() -> None:
        async with project.gateway(environ={}) as gateway:
            await gateway.complete("chat", HELLO)
            project.write(".env", "LOOPBACK_KEY=second\n")
            await gateway.reload()
            await gateway.complete("chat", HELLO)

    project.write(".env", "LOOPBACK_KEY=first\n")
    asyncio.run(asked())
    keys = [asked.headers["authorization"] for asked in project.providers["main"].asked]
    assert [key.lower() for key in keys] == ["bearer first", "bearer second"]


# --- what was released stays ---


def test_a_running_gateway_keeps_a_released_prompt_and_a_new_gateway_warns(project: Sample) -> None:
    project.providers["main"].answerer = lambda asked: Reply(text=asked.body["messages"][0]["content"].strip())

    async def serve() -> None:
        async with project.gateway() as gateway:
            first = await gateway.complete("chat", HELLO)
            lock = PromptLock().with_release(
                "v1", LockedRelease(prompts={"prompts/hello_v1": project.calls[0].prompt_hash or ""})
            )
            lock.write(project.root / "prompts.lock")
            await gateway.reload()
            project.write("prompts/hello_v1.prompt", PROMPT % 99)
            await gateway.reload()
            second = await gateway.complete("chat", HELLO)
            assert first.text == "Prompt v1."
            assert second.text == "Prompt v1."
            assert (await gateway.status()).warnings == ()
            (project.root / "prompts" / "hello_v1.prompt").unlink()
            await gateway.reload()
            assert (await gateway.complete("chat", HELLO)).text == "Prompt v1."
            project.write("prompts/hello_v1.prompt", PROMPT % 99)

        async with project.gateway() as fresh:
            (warning,) = (await fresh.status()).warnings
            assert "`prompts/hello_v1`" in warning
            assert "released" in warning
            assert (await fresh.complete("chat", HELLO)).text == "Prompt v99."

    asyncio.run(serve())
    *released, changed = (event.prompt_hash for event in project.calls)
    assert len(set(released)) == 1
    assert changed not in released


# --- what is wrong serves nobody ---

WRONG = {
    "no YAML": "schema_version: 1\nmodels: [",
    "half written": None,  # cut off in the middle
    "a name that leads nowhere": "unknown model",
    "empty": "",
    "not text": "\x00\x01",
}


@pytest.mark.parametrize("how", WRONG)
def test_an_invalid_registry_is_reported_once_and_the_last_valid_one_serves(project: Sample, how: str) -> None:
    good = (project.root / "registry.yaml").read_text()
    wrong = WRONG[how]
    if how == "half written":
        wrong = good[: len(good) // 2]
    elif how == "a name that leads nowhere":
        wrong = good.replace('"model": "main"', '"model": "nobody"')
    assert wrong is not None
    text = wrong

    async def served() -> None:
        async with project.gateway() as gateway:
            (project.root / "registry.yaml").write_text(text)  # in place, as an editor might
            await until_troubled(gateway, "registry_invalid")
            assert "registry.yaml" in (await gateway.status()).degraded["registry_invalid"]
            for _ in range(3):
                assert (await gateway.complete("chat", HELLO)).text == "main says hello"
                await gateway.reload()
            project.registry["current"] = "v2"
            project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v2"}}
            project.write()
            await until_troubled(gateway)
            assert (await gateway.complete("chat", HELLO)).release == "v2"

    asyncio.run(served())
    assert [alert.cause for alert in project.alerts] == ["registry"]
    assert "registry.yaml" in project.alerts[0].message
    assert {event.error_class for event in project.calls} == {None}


def test_a_deleted_registry_is_an_invalid_one(project: Sample) -> None:
    async def served() -> None:
        async with project.gateway() as gateway:
            (project.root / "registry.yaml").unlink()
            await until_troubled(gateway, "registry_invalid")
            assert (await gateway.complete("chat", HELLO)).text == "main says hello"
            project.write()
            await until_troubled(gateway)

    asyncio.run(served())
    assert [alert.cause for alert in project.alerts] == ["registry"]


def test_a_new_release_with_an_invalid_prompt_serves_once_the_prompt_is_fixed(project: Sample) -> None:
    project.write("prompts/hello_v3.prompt", "{{#if text}}never closed")

    async def served() -> None:
        async with project.gateway() as gateway:
            project.registry["releases"]["v3"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v3"}}
            project.registry["current"] = "v3"
            project.write()
            await until_troubled(gateway, "registry_invalid")
            assert "hello_v3" in (await gateway.status()).degraded["registry_invalid"]
            assert (await gateway.complete("chat", HELLO)).release == "v1"
            project.write("prompts/hello_v3.prompt", PROMPT % 3)
            await until_answered_by(gateway, "v3")
            assert (await gateway.status()).degraded == {}

    asyncio.run(served())


def test_an_invalid_prompt_of_another_release_is_a_warning_until_fixed(project: Sample) -> None:
    project.registry["releases"]["v0"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v0"}}
    project.write()

    async def served() -> None:
        async with project.gateway() as gateway:
            (warning,) = (await gateway.status()).warnings
            assert "hello_v0" in warning
            assert (await gateway.complete("chat", HELLO)).release == "v1"
            project.write("prompts/hello_v0.prompt", PROMPT % 0)

            async def mended() -> bool:
                return (await gateway.status()).warnings == ()

            await until(mended)

    asyncio.run(served())


def test_a_registry_written_slowly_in_place_is_served_when_complete(project: Sample) -> None:
    project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v2"}}
    project.registry["current"] = "v2"
    text = json.dumps(project.registry)

    async def served() -> None:
        async with project.gateway() as gateway:
            with (project.root / "registry.yaml").open("w") as file:
                for at in range(0, len(text), 100):
                    assert (await gateway.complete("chat", HELLO)).release == "v1"
                    file.write(text[at : at + 100])
                    file.flush()
                    await gateway.reload()
            await until_answered_by(gateway, "v2")
            await until_troubled(gateway)

    asyncio.run(served())


def test_a_deleted_environment_file_is_an_invalid_registry(project: Sample) -> None:
    own = json.dumps({"extends": "registry.yaml", "current": "v2"})
    project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v2"}}
    project.write()
    project.write("registry.prod.yaml", own)

    async def served() -> None:
        async with Gateway(project.root, env="prod", settings=project.settings()) as gateway:
            assert (await gateway.complete("chat", HELLO)).release == "v2"
            (project.root / "registry.prod.yaml").unlink()
            await until_troubled(gateway, "registry_invalid")
            assert (await gateway.complete("chat", HELLO)).release == "v2"
            project.write("registry.prod.yaml", own.replace("v2", "v1"))
            await until_troubled(gateway)
            await until_answered_by(gateway, "v1")

    asyncio.run(served())
