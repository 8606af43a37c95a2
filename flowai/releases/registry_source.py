"""Opens the registry of a release command, in a checkout, by path or by URL, and selects its environment."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flowai.errors import FlowaiError, InfrastructureError, ProjectError, RegistryError, UsageError
from flowai.project import Project, find_project
from flowai.redaction import Redactor
from flowai.registry import environment_file, environment_of, environments, load_registry, secret_values
from flowai.registry.environment import fill
from flowai.registry.loader import ENVIRONMENT_VARIABLE
from flowai.storage.files import parse_yaml, writing
from flowai.storage.own_files import REGISTRY_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.registry import Registry

REGISTRY_VARIABLE = "FLOWAI_REGISTRY"
DEFAULT_ENVIRONMENT = "default"
"""Name of registry.yaml itself if there are other environments."""
FETCH_TIMEOUT_S = 3.0
MAX_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistrySource:
    """A registry with its project, environment and variables."""

    project: Project
    """For a fetched registry: a temporary directory."""
    environment: str | None
    """Environment; None for the plain registry."""
    environ: Mapping[str, str]
    """Variables of the process, and those of the checkout's .env that it does not set."""
    registry: Registry | None
    """None if it cannot be read; then `error` says why."""
    error: FlowaiError | None = None
    is_remote: bool = False
    """Whether there is no checkout: the registry was fetched or not found. Nothing is written."""
    is_writable: bool = True
    """Whether its file may be changed."""

    @property
    def own_file(self) -> str:
        """Name of the file that contains flowai's own keys."""
        if self.registry is not None:
            return self.registry.own_file
        stem = self.project.registry
        return stem.name if self.environment is None else f"{stem.stem}.{self.environment}{stem.suffix}"

    @property
    def redactor(self) -> Redactor:
        """Redactor of the secrets in the registry and the variables."""
        return (
            Redactor()
            if self.registry is None
            else Redactor(secret_values(self.registry, self.environ, self.project.root))
        )

    def require_registry(self) -> Registry:
        """Return the registry.

        Raises:
            FlowaiError: the registry could not be read; the original error.
        """
        if self.registry is None:
            raise self.error or InfrastructureError("the registry cannot be read")
        return self.registry


@contextmanager
def open_source(
    start: Path, *, named: str | None, env: str | None, environ: Mapping[str, str]
) -> Iterator[RegistrySource]:
    """Open the registry; a fetched one is stored in a temporary directory until the end.

    Args:
        start: directory to search from.
        named: path or URL of the registry; None for FLOWAI_REGISTRY, then the nearest one upwards.
        env: environment; None for FLOWAI_ENV or the only one; `default` for the plain registry.
        environ: variables of the process.

    Yields:
        The source. An invalid or unreachable registry is no error: the shared state may still be reachable.

    Raises:
        UsageError: several environments and none named, an unknown environment, or an invalid URL.
    """
    path_or_url = named or environ.get(REGISTRY_VARIABLE)
    requested = env or environ.get(ENVIRONMENT_VARIABLE) or None
    if path_or_url and path_or_url.lower().startswith(("http://", "https://")):
        with tempfile.TemporaryDirectory(prefix="flowai-") as directory:
            yield _open_remote(path_or_url, Path(directory), requested, environ)
        return
    try:
        project = _find_registry(start, path_or_url, environ)
    except ProjectError as error:
        source = _missing_source(start, requested, environ, error)
    else:
        base, named_env = _split_environment(project.registry)
        if named and named_env:  # as by URL; the file in FLOWAI_REGISTRY is complete for every reader
            _check_single_source(named_env, requested)
            project, env = Project(root=project.root, registry=base), named_env
        source = _open_local(project, env, environ)
    yield source


def state_address(source: RegistrySource, named: str | None, start: Path) -> tuple[str, Path]:
    """Return the address of the shared state, and its base directory.

    Args:
        source: the registry.
        named: Redis URL or directory, as typed; None for the registry's `state`.
        start: base directory of `named`.

    Raises:
        MissingKeyError: a variable in the registry's `state` is not set.
        InfrastructureError: the state is on another machine, or its address is unknown.
    """
    if named:
        return named, start
    if source.registry is not None:
        address = fill(source.registry.state, source.environ, owner="`state`")
        if not source.is_remote or "://" in address:
            return address, source.project.root
    elif not source.is_remote and source.project.local.is_dir():
        return str(source.project.local), source.project.root
    raise InfrastructureError("the address of the shared state is unknown here", hint="name it: `--state redis://...`")


def _find_registry(start: Path, path: str | None, environ: Mapping[str, str]) -> Project:
    if path and not (start / path).is_file():
        raise ProjectError(f"the registry `{path}` is not a file", hint="name a registry.yaml, by path or by URL")
    return find_project(start, {**environ, REGISTRY_VARIABLE: path or ""})


def _split_environment(file: Path) -> tuple[Path, str | None]:
    """Split `registry.prod.yaml` into the plain registry and the environment, if the plain registry exists."""
    stem, _, environment = file.stem.rpartition(".")
    base = file.with_name(f"{stem}{file.suffix}")
    return (base, environment) if stem and base.is_file() else (file, None)


def _check_single_source(named_env: str, requested: str | None) -> None:
    if requested not in (None, named_env):
        raise UsageError(f"--registry names the environment `{named_env}`, --env or FLOWAI_ENV `{requested}`")


def _missing_source(start: Path, env: str | None, environ: Mapping[str, str], error: FlowaiError) -> RegistrySource:
    return RegistrySource(
        project=Project(root=start, registry=start / REGISTRY_FILE),
        environment=None if env == DEFAULT_ENVIRONMENT else env,
        environ=environ,
        registry=None,
        error=error,
        is_remote=True,
        is_writable=False,
    )


def _open_local(project: Project, env: str | None, environ: Mapping[str, str]) -> RegistrySource:
    registry, problem = None, None
    variables: Mapping[str, str] = environ
    try:
        variables = environment_of(project, environ)
    except FlowaiError as error:
        problem = error
    env = env or variables.get(ENVIRONMENT_VARIABLE) or None
    variables = {name: value for name, value in variables.items() if name != ENVIRONMENT_VARIABLE}  # used above
    selected = _choose_environment(project, env, variables)
    if problem is None:
        try:
            registry = load_registry(project, env=selected, environ=variables)
        except FlowaiError as error:
            problem = error
    return RegistrySource(
        project=project,
        environment=selected,
        environ=variables,
        registry=registry,
        error=problem,
        is_writable=_is_writable(project, selected),
    )


def _choose_environment(project: Project, env: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the environment; never guess among several."""
    known = environments(project)
    if env == DEFAULT_ENVIRONMENT and DEFAULT_ENVIRONMENT not in known:
        return None
    if env is not None:
        environment_file(project, env)
        return env
    if not known:
        return None
    has_plain = _has_current(project, environ)
    if len(known) == 1 and not has_plain:
        return known[0]
    listed = ", ".join(f"`{name}`" for name in (*known, *((DEFAULT_ENVIRONMENT,) if has_plain else ())))
    raise UsageError(f"several environments exist: {listed}", hint=f"name one: `--env {known[0]}`, or set FLOWAI_ENV")


def _has_current(project: Project, environ: Mapping[str, str]) -> bool:
    """Return whether the plain registry is an environment itself; assume so if it cannot be read."""
    try:
        return load_registry(project, env=None, environ=environ).current is not None
    except FlowaiError:
        return True


def _is_writable(project: Project, env: str | None) -> bool:
    """Return whether the file may be changed; a file without any write permission stays unchanged even for root."""
    import os

    try:
        path = environment_file(project, env)
        return (
            bool(path.stat().st_mode & 0o222) and os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)
        )
    except (FlowaiError, OSError):
        return False


def _open_remote(url: str, directory: Path, env: str | None, environ: Mapping[str, str]) -> RegistrySource:
    """Fetch a registry and its base file into a directory."""
    try:
        name = Path(urlsplit(url).path).name or REGISTRY_FILE
    except ValueError as error:
        raise UsageError(f"the registry's URL cannot be read: {error}") from None
    project = Project(root=directory, registry=directory / name)
    selected = None if env == DEFAULT_ENVIRONMENT else env
    registry, problem = None, None
    try:
        text = _fetch(url, directory / name)
        base = _base_file(text, name)
        if base is not None:  # the file of an environment
            _fetch(_environment_sibling(url, base), directory / base)
            project = Project(root=directory, registry=directory / base)
            selected = name.removeprefix(f"{Path(base).stem}.").removesuffix(Path(base).suffix)
            _check_single_source(selected, env)
        elif selected is not None:
            other = f"{Path(name).stem}.{selected}{Path(name).suffix}"
            _fetch(_environment_sibling(url, other), directory / other)
        registry = load_registry(project, env=selected, environ=environ)
    except UsageError:
        raise
    except FlowaiError as error:
        problem = error
    return RegistrySource(
        project=project,
        environment=selected,
        environ=environ,
        registry=registry,
        error=problem,
        is_remote=True,
        is_writable=False,
    )


def _environment_sibling(url: str, name: str) -> str:
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path.rpartition('/')[0]}/{name}").geturl()


def _base_file(text: str, name: str) -> str | None:
    value = parse_yaml(text, name=name, kind=RegistryError).value
    base = value.get("extends") if isinstance(value, dict) else None
    if base is not None and (not isinstance(base, str) or "/" in base or base.startswith(".")):
        raise RegistryError(f"`{name}` extends `{base}`, expected the name of a file beside it")
    return base


def _fetch(url: str, path: Path) -> str:
    """Fetch a file; errors do not show the credentials of the URL."""
    import http.client
    import urllib.error
    import urllib.request

    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    data, end_s = b"", time.monotonic() + FETCH_TIMEOUT_S
    try:
        with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as reply:  # noqa: S310 - http(s) only, see open_source
            while len(data) <= MAX_BYTES and (chunk := reply.read1(MAX_BYTES)):
                data += chunk
                if time.monotonic() > end_s:  # a slow server
                    raise TimeoutError(f"incomplete after {FETCH_TIMEOUT_S:.0f} s")
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = getattr(error, "reason", None) or error
        raise InfrastructureError(f"the registry at `{shown}` cannot be fetched: {reason}") from None
    if len(data) > MAX_BYTES:
        raise RegistryError(f"the registry at `{shown}` is larger than {MAX_BYTES:,} bytes")
    with writing(path):
        path.write_bytes(data)
    try:
        return str(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise RegistryError(f"the registry at `{shown}` is not UTF-8") from None
