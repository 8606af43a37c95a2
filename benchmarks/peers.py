"""The tools that flowai is measured beside, where `install_peers.py` puts them, and their versions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".bench-peers"


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A tool in an environment of its own."""

    name: str
    """Name of its folder and of its distribution."""
    packages: tuple[str, ...]
    """Packages to install; `{litellm}` is the version of flowai's own environment."""
    command: str
    """Its program, relative to its folder."""
    is_node: bool = False

    @property
    def path(self) -> Path:
        """Its program."""
        return FOLDER / self.name / self.command

    def version(self) -> str | None:
        """Return the installed version; None when it is not installed."""
        if not self.path.exists():
            return None
        if self.is_node:
            name = self.packages[0].rpartition("@")[0] or self.packages[0]
            manifest = FOLDER / self.name / "node_modules" / name / "package.json"
            return str(json.loads(manifest.read_text(encoding="utf-8"))["version"])
        distribution = self.name.replace("-", "_")
        found = sorted((FOLDER / self.name).glob(f"lib/python*/site-packages/{distribution}-*.dist-info"))
        return found[-1].name.removesuffix(".dist-info").rpartition("-")[2] if found else None


PEERS = (
    Peer(
        name="pydantic-evals",
        packages=("pydantic-evals>=2.62,<3", "pydantic-ai-slim[openai]>=2.62,<3"),
        command="bin/python",
    ),
    Peer(name="deepeval", packages=("deepeval>=4.3,<5", "openai>=2,<4"), command="bin/python"),
    Peer(name="inspect-ai", packages=("inspect-ai>=0.3.285,<0.4", "openai>=2,<4"), command="bin/inspect"),
    Peer(name="litellm", packages=("litellm[proxy]=={litellm}",), command="bin/litellm"),
    # newer ones need Node 22
    Peer(name="promptfoo", packages=("promptfoo@0.121.20",), command="node_modules/.bin/promptfoo", is_node=True),
    Peer(name="portkey", packages=("@portkey-ai/gateway@1.15.2",), command="node_modules/.bin/gateway", is_node=True),
)


def peer_named(name: str) -> Peer:
    """Return a peer by its name."""
    return next(peer for peer in PEERS if peer.name == name)
