"""Opens the registry that a release command works on: in a checkout, by path, or by URL, and the environment in it.

In: where to look, variables. Out: a Source, whose registry may be missing with the reason. Must never know what is done
with it.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flowai.errors import FlowaiError, InfrastructureError, RegistryError, UsageError
from flowai.files import parse_yaml
from flowai.project import Project, find_project
from flowai.registry import environment_file, environment_of, environments, load_registry
from flowai.registry.load import ENVIRONMENT_VARIABLE
from flowai.registry.variables import fill

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.registry import Registry

REGISTRY_VARIABLE = "FLOWAI_REGISTRY"
PLAIN = "default"
"""How the plain registry is named where other environments stand beside it."""
FETCH_LIMIT_S = 3.0
MOST_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A registry and the place it came from.

    Args:
        project: where it lies; for one from the network a directory of its own that goes with this record.
        environment: the environment; None for the plain registry.
        environ: the variables, those of the checkout's .env under the process's.
        registry: the registry; None when it cannot be read.
        error: why not; None when it could be.
        is_remote: whether it came over the network: nothing is written back, and there is no checkout.
        is_writable: whether its file may be changed.
    """

    project: Project
    environment: str | None
    environ: Mapping[str, str]
    registry: Registry | None
    error: FlowaiError | None = None
    is_remote: bool = False
    is_writable: bool = True

    @property
    def own_file(self) -> str:
        """The file that holds flowai's own keys, as a person would type it."""
        if self.registry is not None:
            return self.registry.own_file
        stem = self.project.registry
        return stem.name if self.environment is None else f"{stem.stem}.{self.environment}{stem.suffix}"


@contextmanager
def open_source(start: Path, *, named: str | None, env: str | None, environ: Mapping[str, str]) -> Iterator[Source]:
    """Open the registry; one from the network lies in a directory that is gone at the end.

    Args:
        start: directory to search from.
        named: path or URL of the registry; None for FLOWAI_REGISTRY, and without it the nearest one upwards.
        env: the environment; None for FLOWAI_ENV or the only one there is; `default` for the plain registry.
        environ: the process environment.

    Yields:
        The source. A registry that is wrong or away is no error here: what processes share may still be reached.

    Raises:
        UsageError: several environments exist and none was named, or there is none of that name.
        ProjectError: there is no registry file at all.
    """
    where = named or environ.get(REGISTRY_VARIABLE)
    if where and urlsplit(where).scheme in ("http", "https"):
        with tempfile.TemporaryDirectory(prefix="flowai-") as directory:
            yield _remote(where, Path(directory), env or environ.get(ENVIRONMENT_VARIABLE) or None, environ)
        return
    project = find_project(start, {**environ, REGISTRY_VARIABLE: where or ""})
    yield _opened(project, env, environ)


def state_address(source: Source, named: str | None, start: Path) -> tuple[str, Path]:
    """Find where processes share what they know.

    Args:
        source: the registry.
        named: the place, as a person names it; None for what the registry says.
        start: directory that a named place is relative to.

    Returns:
        The address, and the directory it is relative to.

    Raises:
        MissingKeyError: the registry names a variable in it that is not set.
        InfrastructureError: it lies on another machine, or nobody says where.
    """
    if named:
        return named, start
    if source.registry is not None:
        address = fill(source.registry.state, source.environ, owner="`state`")
        if not source.is_remote or "://" in address:
            return address, source.project.root
    elif not source.is_remote and source.project.local.is_dir():
        return str(source.project.local), source.project.root
    raise InfrastructureError(
        "what processes share lies where this command cannot see it", hint="name it: `--state redis://...`"
    )


def _opened(project: Project, env: str | None, environ: Mapping[str, str]) -> Source:
    registry, problem = None, None
    variables: Mapping[str, str] = environ
    try:
        variables = environment_of(project, environ)
    except FlowaiError as error:
        problem = error
    env = env or variables.get(ENVIRONMENT_VARIABLE) or None
    variables = {name: value for name, value in variables.items() if name != ENVIRONMENT_VARIABLE}  # chosen above
    chosen = _chosen(project, env, variables)
    if problem is None:
        try:
            registry = load_registry(project, env=chosen, environ=variables)
        except FlowaiError as error:
            problem = error
    return Source(
        project=project,
        environment=chosen,
        environ=variables,
        registry=registry,
        error=problem,
        is_writable=_is_writable(project, chosen),
    )


def _chosen(project: Project, env: str | None, environ: Mapping[str, str]) -> str | None:
    """Choose the environment; production is never changed by a guess."""
    known = environments(project)
    if env == PLAIN and PLAIN not in known:
        return None
    if env is not None:
        environment_file(project, env)
        return env
    if not known:
        return None
    has_plain = _serves_itself(project, environ)
    if len(known) == 1 and not has_plain:
        return known[0]
    listed = ", ".join(f"`{name}`" for name in (*known, *((PLAIN,) if has_plain else ())))
    raise UsageError(f"several environments exist: {listed}", hint=f"name one: `--env {known[0]}`, or set FLOWAI_ENV")


def _serves_itself(project: Project, environ: Mapping[str, str]) -> bool:
    """Tell whether the plain registry is an environment of its own; one that cannot be read may be."""
    try:
        return load_registry(project, env=None, environ=environ).current is not None
    except FlowaiError:
        return True


def _is_writable(project: Project, env: str | None) -> bool:
    """Tell whether the file may be changed; a file without any write permission is left alone by everyone."""
    import os

    try:
        path = environment_file(project, env)
        return (
            bool(path.stat().st_mode & 0o222) and os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)
        )
    except (FlowaiError, OSError):
        return False


def _remote(url: str, directory: Path, env: str | None, environ: Mapping[str, str]) -> Source:
    """Fetch a registry, and what it extends, into a directory."""
    name = Path(urlsplit(url).path).name or "registry.yaml"
    project = Project(root=directory, registry=directory / name)
    chosen = None if env == PLAIN else env
    registry, problem = None, None
    try:
        text = _fetched(url, directory / name)
        base = _extended(text, name)
        if base is not None:  # the URL names an environment's file
            _fetched(_beside(url, base), directory / base)
            project = Project(root=directory, registry=directory / base)
            chosen = name.removeprefix(f"{Path(base).stem}.").removesuffix(Path(base).suffix)
        elif chosen is not None:
            other = f"{Path(name).stem}.{chosen}{Path(name).suffix}"
            _fetched(_beside(url, other), directory / other)
        registry = load_registry(project, env=chosen, environ=environ)
    except FlowaiError as error:
        problem = error
    if chosen != env and env is not None and env != PLAIN:
        raise UsageError(f"the registry that was named is the one of `{chosen}`, not of `{env}`")
    return Source(
        project=project,
        environment=chosen,
        environ=environ,
        registry=registry,
        error=problem,
        is_remote=True,
        is_writable=False,
    )


def _beside(url: str, name: str) -> str:
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path.rpartition('/')[0]}/{name}").geturl()


def _extended(text: str, name: str) -> str | None:
    value = parse_yaml(text, name=name, kind=RegistryError).value
    base = value.get("extends") if isinstance(value, dict) else None
    if base is not None and (not isinstance(base, str) or "/" in base or base.startswith(".")):
        raise RegistryError(f"`{name}` extends `{base}`, expected the name of a file beside it")
    return base


def _fetched(url: str, path: Path) -> str:
    """Fetch a file; the URL's own credentials are not shown in errors."""
    import urllib.request

    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
    try:
        with urllib.request.urlopen(url, timeout=FETCH_LIMIT_S) as reply:  # noqa: S310 - http(s) only, see open_source
            data = reply.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InfrastructureError(f"the registry at `{shown}` cannot be fetched: {reason}") from None
    if len(data) > MOST_BYTES:
        raise RegistryError(f"the registry at `{shown}` is larger than {MOST_BYTES:,} bytes")
    path.write_bytes(data)
    try:
        return str(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise RegistryError(f"the registry at `{shown}` is not UTF-8") from None
