"""Starts HTTP gateways beside each other on one loopback provider: flowai, LiteLLM's proxy, Portkey's open gateway."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peers import peer_named

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_S = 120.0
KEY = "sk-loopback"
FLOWAI_REGISTRY = """\
schema_version: 1
models:
  m: {{model: openai/gpt-4o-mini, api_base: "{base_url}", api_key: "${{LOOPBACK_KEY}}"}}
features:
  chat: {{cache: {{kind: none}}}}
releases:
  v1: {{chat: {{prompt: prompts/echo_v1, model: m}}}}
current: v1
"""
PROMPT = "---\ninput: {schema: {text: string}}\n---\n{{text}}\n"
LITELLM_CONFIG = """\
model_list:
  - model_name: chat
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{base_url}", api_key: {key}}}
litellm_settings: {{telemetry: false, num_retries: 0}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A gateway under load."""

    name: str
    pid: int
    port: int
    headers: str = ""
    """More header lines for its requests, each with its line end."""

    def cpu_s(self) -> float:
        """Return the CPU time used so far, seconds, with all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def request(self, body: bytes) -> bytes:
        """Return the bytes of a chat request."""
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\nauthorization: Bearer {KEY}\r\n"
        head += f"{self.headers}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body


@contextmanager
def flowai(root: Path, base_url: str) -> Iterator[Server]:
    """Run `flowai serve` with the event log on."""
    project = root / "project"
    (project / "prompts").mkdir(parents=True)
    (project / "registry.yaml").write_text(FLOWAI_REGISTRY.format(base_url=base_url), encoding="utf-8")
    (project / "prompts" / "echo_v1.prompt").write_text(PROMPT, encoding="utf-8")
    arguments = [sys.executable, "-m", "flowai", "serve", "--port", "0", "--json"]
    environ = {**os.environ, "LOOPBACK_KEY": KEY}
    process = subprocess.Popen(arguments, cwd=project, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        address = json.loads(process.stdout.readline())["address"]
        yield Server(name="flowai", pid=process.pid, port=int(address.rpartition(":")[2]))
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def litellm_proxy(root: Path, base_url: str) -> Iterator[Server]:
    """Run LiteLLM's proxy with one worker."""
    config = root / "litellm.yaml"
    config.write_text(LITELLM_CONFIG.format(base_url=base_url, key=KEY), encoding="utf-8")
    port = _free_port()
    program = str(peer_named("litellm").path)
    arguments = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    environ["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"  # it has no keys to check, as ours has none
    with _running(arguments, root, environ, port) as pid:
        yield Server(name=f"LiteLLM's proxy {peer_named('litellm').version()}", pid=pid, port=port)


@contextmanager
def portkey(root: Path, base_url: str) -> Iterator[Server]:
    """Run Portkey's open gateway, which learns the provider from each request's headers."""
    port = _free_port()
    folder = peer_named("portkey").path.parents[2]
    script = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    arguments = ["node", str(script), "--headless", f"--port={port}"]
    environ = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    headers = f"x-portkey-provider: openai\r\nx-portkey-custom-host: {base_url}\r\n"
    with _running(arguments, root, environ, port) as pid:
        yield Server(name=f"Portkey {peer_named('portkey').version()}", pid=pid, port=port, headers=headers)


GATEWAYS = {"litellm": litellm_proxy, "portkey": portkey}
"""Peers of `flowai serve`, by the name of their package."""


@contextmanager
def _running(arguments: list[str], root: Path, environ: dict[str, str], port: int) -> Iterator[int]:
    log = root / f"{Path(arguments[0]).name}-{port}.log"
    process = subprocess.Popen(
        arguments,
        cwd=root,
        env={**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **environ},
        stdin=subprocess.DEVNULL,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        if not _is_listening(port, process):
            raise RuntimeError(f"{arguments[0]} did not start: {log.read_text(errors='replace')[-800:]}")
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _is_listening(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until a server accepts connections; return False when it ended or took too long."""
    give_up_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_s and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return True
    return False
