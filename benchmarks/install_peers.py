"""Installs the tools that flowai is measured beside into `.bench-peers/`, each in an environment of its own.

Python tools get a virtual environment each, since they pin their dependencies; tools for Node get a folder each. A tool
that cannot be installed is named, and the benchmarks skip it. Nothing else in the project needs them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version

from peers import FOLDER, PEERS, Peer


def main() -> None:
    """Install all peers, or those that are named; the exit status is 1 if one is missing afterwards."""
    FOLDER.mkdir(exist_ok=True)
    missing = []
    for peer in PEERS:
        if sys.argv[1:] and peer.name not in sys.argv[1:]:
            continue
        sys.stderr.write(f"{peer.name} ...\n")
        if not _install(peer):
            missing.append(peer.name)
    for peer in PEERS:
        print(f"{peer.name} {peer.version() or 'is not installed'}")
    sys.exit(1 if missing else 0)


def _install(peer: Peer) -> bool:
    place = FOLDER / peer.name
    if peer.is_node:
        npm = shutil.which("npm")
        if npm is None:
            return False
        place.mkdir(exist_ok=True)
        command = [npm, "install", "--prefix", str(place), "--no-fund", "--no-audit", "--loglevel=error"]
        return subprocess.run([*command, *peer.packages], check=False).returncode == 0
    if not (place / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    packages = [package.format(litellm=version("litellm")) for package in peer.packages]
    command = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return subprocess.run([*command, *packages], check=False).returncode == 0


if __name__ == "__main__":
    main()
