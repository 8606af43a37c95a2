"""Opens the registry that a release command works on: in a checkout, by path, or by URL, and the environment in it."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flowai.errors import FlowaiError, InfrastructureError, ProjectError, RegistryError, UsageError
from flowai.project import REGISTRY_FILE, Project, find_project
from flowai.redaction import Redactor
from flowai.registry import environment_file, environment_of, environments, load_registry, secret_values
from flowai.registry.environment import fill
from flowai.registry.loader import ENVIRONMENT_VARIABLE
from flowai.storage.files import parse_yaml, writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.registry import Registry

REGISTRY_VARIABLE = "FLOWAI_REGISTRY"
DEFAULT_ENVIRONMENT = "default"
"""How the plain registry is named where other environments stand beside it."""
FETCH_LIMIT_S = 3.0
MAX_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistrySource:
    """A registry and the place it came from."""

    project: Project
    """Where it lies; without a checkout a directory of its own that goes with this record."""
    environment: str | None
    """The environment; None for the plain registry."""
    environ: Mapping[str, str]
    """The variables, those of the checkout's .env under the process's."""
    registry: Registry | None
    """The registry; None when it cannot be read."""
    error: FlowaiError | None = None
    """Why not; None when it could be."""
    is_remote: bool = False
    """Whether there is no checkout, since it came over the network or was not found; nothing is written."""
    is_writable: bool = True
    """Whether its file may be changed."""

    @property
    def own_file(self) -> str:
        """The file that holds flowai's own keys, as a person would type it."""
        if self.registry is not None:
            return self.registry.own_file
        stem = self.project.registry
        return stem.name if self.environment is None else f"{stem.stem}.{self.environment}{stem.suffix}"

    @property
    def redactor(self) -> Redactor:
        """Removes the secrets that the registry and the variables hold, as far as they could be read."""
        return Redactor() if self.registry is None else Redactor(secret_values(self.registry, self.environ))

    def require_registry(self) -> Registry:
        """Return the registry.

        Raises:
            FlowaiError: it could not be read; the original error.
        """
        if self.registry is None:
            raise self.error or InfrastructureError("the registry cannot be read")
        return self.registry


@contextmanager
def open_source(
    start: Path, *, named: str | None, env: str | None, environ: Mapping[str, str]
) -> Iterator[RegistrySource]:
    """Open the registry; without a checkout it lies in a directory that is gone at the end.

    Args:
        start: directory to search from.
        named: path or URL of the registry; None for FLOWAI_REGISTRY, and without it the nearest one upwards.
        env: the environment; None for FLOWAI_ENV or the only one there is; `default` for the plain registry.
        environ: the process environment.

    Yields:
        The source. A registry that is wrong or away is no error here: what processes share may still be reached.

    Raises:
        UsageError: several environments exist and none was named, there is none of that name, or no such URL can be.
    """
    where = named or environ.get(REGISTRY_VARIABLE)
    asked = env or environ.get(ENVIRONMENT_VARIABLE) or None
    if where and where.lower().startswith(("http://", "https://")):
        with tempfile.TemporaryDirectory(prefix="flowai-") as directory:
            yield _remote(where, Path(directory), asked, environ)
        return
    try:
        project = _project(start, where, environ)
    except ProjectError as error:
        source = _not_found_error(start, asked, environ, error)
    else:
        base, said = _split(project.registry)
        if named and said:  # as by URL; FLOWAI_REGISTRY names to all who read it a registry that stands alone
            _check_single_source(said, asked)
            project, env = Project(root=project.root, registry=base), said
        source = _opened(project, env, environ)
    yield source


def state_address(source: RegistrySource, named: str | None, start: Path) -> tuple[str, Path]:
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


def _project(start: Path, where: str | None, environ: Mapping[str, str]) -> Project:
    """Find the project, by the path of its registry where one is named."""
    if where and not (start / where).is_file():
        raise ProjectError(f"the registry `{where}` is not a file", hint="name a registry.yaml, by path or by URL")
    return find_project(start, {**environ, REGISTRY_VARIABLE: where or ""})


def _split(file: Path) -> tuple[Path, str | None]:
    """Tell the plain registry and the environment of a file beside it (`registry.prod.yaml`); else the file itself."""
    stem, _, environment = file.stem.rpartition(".")
    base = file.with_name(f"{stem}{file.suffix}")
    return (base, environment) if stem and base.is_file() else (file, None)


def _check_single_source(said: str, asked: str | None) -> None:
    """Refuse an environment other than the one whose file was named."""
    if asked not in (None, said):
        raise UsageError(f"the registry that was named is the one of `{said}`, not of `{asked}`")


def _not_found_error(start: Path, env: str | None, environ: Mapping[str, str], error: FlowaiError) -> RegistrySource:
    """Give what can be said without a registry."""
    return RegistrySource(
        project=Project(root=start, registry=start / REGISTRY_FILE),
        environment=None if env == DEFAULT_ENVIRONMENT else env,
        environ=environ,
        registry=None,
        error=error,
        is_remote=True,
        is_writable=False,
    )


def _opened(project: Project, env: str | None, environ: Mapping[str, str]) -> RegistrySource:
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
    return RegistrySource(
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
    if env == DEFAULT_ENVIRONMENT and DEFAULT_ENVIRONMENT not in known:
        return None
    if env is not None:
        environment_file(project, env)
        return env
    if not known:
        return None
    has_plain = _serves_itself(project, environ)
    if len(known) == 1 and not has_plain:
        return known[0]
    listed = ", ".join(f"`{name}`" for name in (*known, *((DEFAULT_ENVIRONMENT,) if has_plain else ())))
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


def _remote(url: str, directory: Path, env: str | None, environ: Mapping[str, str]) -> RegistrySource:
    """Fetch a registry, and what it extends, into a directory."""
    try:
        name = Path(urlsplit(url).path).name or REGISTRY_FILE
    except ValueError as error:
        raise UsageError(f"the registry's URL cannot be read: {error}") from None
    project = Project(root=directory, registry=directory / name)
    chosen = None if env == DEFAULT_ENVIRONMENT else env
    registry, problem = None, None
    try:
        text = _fetched(url, directory / name)
        base = _extended(text, name)
        if base is not None:  # the URL names an environment's file
            _fetched(_environment_sibling(url, base), directory / base)
            project = Project(root=directory, registry=directory / base)
            chosen = name.removeprefix(f"{Path(base).stem}.").removesuffix(Path(base).suffix)
            _check_single_source(chosen, env)
        elif chosen is not None:
            other = f"{Path(name).stem}.{chosen}{Path(name).suffix}"
            _fetched(_environment_sibling(url, other), directory / other)
        registry = load_registry(project, env=chosen, environ=environ)
    except UsageError:
        raise
    except FlowaiError as error:
        problem = error
    return RegistrySource(
        project=project,
        environment=chosen,
        environ=environ,
        registry=registry,
        error=problem,
        is_remote=True,
        is_writable=False,
    )


def _environment_sibling(url: str, name: str) -> str:
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
    import http.client
    import urllib.error
    import urllib.request

    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    data, end_s = b"", time.monotonic() + FETCH_LIMIT_S
    try:
        with urllib.request.urlopen(url, timeout=FETCH_LIMIT_S) as reply:  # noqa: S310 - http(s) only, see open_source
            while len(data) <= MAX_BYTES and (piece := reply.read1(MAX_BYTES)):
                data += piece
                if time.monotonic() > end_s:  # it drips
                    raise TimeoutError(f"not whole after {FETCH_LIMIT_S:.0f} s")
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
