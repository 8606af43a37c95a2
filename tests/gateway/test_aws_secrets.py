"""Keys in AWS Secrets Manager, by moto on loopback: rotated while calls run, and away at the start and later."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, until
from support.scripted_replies import Reply

from flowai.project import find_project
from flowai.registry import load_registry
from flowai.registry.environment import merge_sources, refresh_secrets, variable_sources
from flowai.secrets.check import KeyCheckOptions, check_keys
from flowai.storage.aws_secrets import REFRESH_S, AwsSecretsCache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.gateway_projects import Sample
    from support.scripted_replies import Asked

pytest.importorskip("boto3")
KEYS = tuple(f"managed{number}-5e4d3c2b1a0f9e8d{number}" for number in range(4))
SECRET = "prod/llm"  # a name


class Manager:
    """A running Secrets Manager."""

    def __init__(self) -> None:
        import boto3  # noqa: TID251 - the service is set up as an administrator would

        self._port = 0
        self.start()
        address = f"http://127.0.0.1:{self._port}"
        self.environ = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL": address,
            "FLOWAI_AWS_SECRETS": SECRET,
        }
        self.client: Any = boto3.client(
            "secretsmanager",
            endpoint_url=address,
            region_name="eu-central-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def start(self) -> None:
        """Start it; what it knows outlives a stop."""
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        _, self._port = self._server.get_host_and_port()

    def stop(self) -> None:
        self._server.stop()

    def put(self, key: str, name: str = SECRET) -> None:
        text = json.dumps({"MANAGED_KEY": key, "OTHER": "x"})
        try:
            self.client.put_secret_value(SecretId=name, SecretString=text)
        except self.client.exceptions.ResourceNotFoundException:
            self.client.create_secret(Name=name, SecretString=text)


@pytest.fixture
def manager() -> Iterator[Manager]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    made = Manager()
    made.put(KEYS[0])
    try:
        yield made
    finally:
        made.stop()


def dead_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def door(valid: set[str], refused: list[str]) -> Any:
    def answer(asked: Asked) -> Reply:
        key = asked.headers["authorization"].removeprefix("bearer ")
        if key in valid:
            return Reply()
        refused.append(key)
        return Reply(status=401, error={"message": f"Incorrect API key provided: {key}"})

    return answer


def test_ten_thousand_calls_survive_rotations_in_secrets_manager(project: Sample, manager: Manager) -> None:
    valid, refused, texts = {KEYS[0]}, [], []  # type: ignore[var-annotated]
    project.registry["models"]["main"]["api_key"] = "${MANAGED_KEY}"
    project.feature(fallback=[], degrade=None)
    project.providers["main"].answerer = door(valid, refused)
    count, steps = 10_000, {2_500: 1, 5_000: 2, 7_500: 3}

    async def served() -> None:
        async def caller() -> None:
            while len(texts) < count:
                texts.append("")
                at = len(texts) - 1
                if at in steps:
                    new = KEYS[steps[at]]
                    valid.add(new)
                    manager.put(new)
                    valid.discard(KEYS[steps[at] - 1])
                texts[at] = (await gateway.complete("chat", HELLO)).text

        async with project.gateway(environ=manager.environ) as gateway:
            await asyncio.gather(*(caller() for _ in range(16)))

    asyncio.run(served())
    assert len(texts) == count
    assert set(texts) == {"hello world"}
    assert refused, "old keys were revoked while calls ran"
    logged = "".join(path.read_text() for path in (project.root / ".flowai").rglob("*.jsonl"))
    assert not any(key in logged for key in KEYS)


def test_secrets_manager_that_is_away_at_the_start_is_named_and_other_keys_serve(project: Sample) -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": dead_address(),
        "FLOWAI_AWS_SECRETS": SECRET,
        "LOOPBACK_KEY": "k-of-the-environment-123",
    }

    async def served() -> tuple[str, tuple[str, ...]]:
        async with project.gateway(environ=environ) as gateway:
            answer = await gateway.complete("chat", HELLO)
            return answer.text, (await gateway.status()).warnings

    text, warnings = asyncio.run(served())
    assert text == "main says hello"
    assert any(f"AWS Secrets Manager: `{SECRET}` cannot be read" in warning for warning in warnings)


def test_the_last_known_values_are_kept_while_it_is_away_and_it_comes_back(project: Sample, manager: Manager) -> None:
    project.registry["models"]["main"]["api_key"] = "${MANAGED_KEY}"
    project.feature(fallback=[], degrade=None)
    valid: set[str] = {KEYS[0]}
    project.providers["main"].answerer = door(valid, [])
    found = find_project(project.root, {})

    async def served() -> None:
        async with project.gateway(environ=manager.environ) as gateway:
            assert (await gateway.complete("chat", HELLO)).text == "hello world"
            manager.stop()
            await asyncio.to_thread(refresh_secrets, found, manager.environ)
            await gateway.reload()
            (warning,) = [each for each in (await gateway.status()).warnings if "AWS" in each]
            assert warning.startswith(f"AWS Secrets Manager: `{SECRET}` cannot be read: EndpointConnectionError")
            for _ in range(20):
                assert (await gateway.complete("chat", HELLO)).text == "hello world"
            manager.start()
            manager.put(KEYS[1])
            valid.clear()
            valid.add(KEYS[1])
            assert (await gateway.complete("chat", HELLO)).text == "hello world"
            assert not any("AWS" in each for each in (await gateway.status()).warnings)

    asyncio.run(served())


def test_a_secret_is_read_again_in_the_background_when_it_is_due(manager: Manager) -> None:
    now = [0.0]
    cache = AwsSecretsCache(manager.environ, clock_s=lambda: now[0])
    first = cache.get(SECRET)
    assert (first.variables["MANAGED_KEY"], first.problem) == (KEYS[0], None)
    assert KEYS[0] not in repr(first)
    manager.put(KEYS[1])
    assert cache.get(SECRET).variables["MANAGED_KEY"] == KEYS[0]
    now[0] += REFRESH_S
    assert cache.get(SECRET).variables["MANAGED_KEY"] == KEYS[0], "no reader waits"
    asyncio.run(until(lambda: cache.get(SECRET).variables["MANAGED_KEY"] == KEYS[1]))


def test_the_age_of_a_managed_key_is_the_one_that_secrets_manager_knows(project: Sample, manager: Manager) -> None:
    project.registry["models"]["main"]["api_key"] = "${MANAGED_KEY}"
    project.write()
    found = find_project(project.root, {})
    sources = variable_sources(found, manager.environ)
    registry = load_registry(found, env=None, environ=merge_sources(sources))
    options = KeyCheckOptions(
        project=found,
        registry=registry,
        release="v1",
        environ=manager.environ,
        today=datetime.now(UTC).date() + timedelta(days=91),
        redact=str,
    )
    key = next(key for key in check_keys(options).keys if key.name == "MANAGED_KEY")
    assert (key.source, key.status, key.users) == (f"aws:{SECRET}", "too_old", ("chat",))
    assert key.first_seen == datetime.now(UTC).date()


def test_it_comes_last_and_wrong_secrets_are_named_without_their_content(project: Sample, manager: Manager) -> None:
    manager.client.create_secret(Name="wrong", SecretString=f"plain {KEYS[3]}")
    found = find_project(project.root, {})
    project.write(".env", "OTHER=dotenv\n")
    environ = {**manager.environ, "FLOWAI_AWS_SECRETS": f"{SECRET}, wrong,missing"}
    sources = variable_sources(found, environ)
    assert [source.name for source in sources] == ["environment", ".env", f"aws:{SECRET}", "aws:wrong", "aws:missing"]
    problems = [source.problem or "" for source in sources[3:]]
    assert "expected a JSON object of variables" in problems[0]
    assert "ResourceNotFoundException" in problems[1]
    assert not any(KEYS[3] in problem for problem in problems)
